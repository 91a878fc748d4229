"""Answers that were made to hang, crash or mislead a verifier: the same ones every time."""

import random

PIECES = [
    *"0123456789xyzeabin",
    *"+-*/^_=<>!|,;:.()[]{}&%$#~'\"\\",
    *" \n\t\x00\x07\u00a0\u200f\u202e\ud800\udfff\u0664\u221a\u00b2\u00bd\ufffd",
    r"\frac",
    r"\frac{",
    r"\frac{1}{",
    r"\sqrt",
    r"\sqrt[",
    r"\sqrt{",
    r"\left(",
    r"\right)",
    r"\left",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"\begin{",
    r"\text{",
    r"\boxed{",
    r"\sin",
    r"\log_",
    r"\ln",
    r"\binom",
    r"\int",
    r"\sum_{i=1}^{n}",
    r"\lim_{x\to 0}",
    r"\pm",
    r"\cup",
    r"\infty",
    r"\pi",
    r"\circ",
    r"\cdot",
    r"\\",
    "**",
    "}{",
    "10^{10^",
    "999999",
    "1e999",
    "!!!",
    "&&",
]


def pieced_together(count: int) -> list[str]:
    """Half LaTeX, most of it short enough to be read."""
    rng = random.Random(20_240_601)
    return ["".join(rng.choices(PIECES, k=rng.randint(1, 30))) for _ in range(count)]


def formulas(count: int) -> list[str]:
    """LaTeX that parses, with numbers, powers and functions of every size."""
    rng = random.Random(7)
    return [_formula(rng, rng.randint(1, 5)) for _ in range(count)]


def _formula(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return rng.choice(
            ["x", "y", "n", "e", "i", r"\pi", "0", "7", "99", "12345", "10^{9}", "0.1"]
        )
    a, b = _formula(rng, rng.randint(0, depth - 1)), _formula(rng, rng.randint(0, depth - 1))
    return rng.choice(
        [
            rf"{a}+{b}",
            rf"{a}-{b}",
            rf"({a})({b})",
            rf"\frac{{{a}}}{{{b}}}",
            rf"{{{a}}}^{{{b}}}",
            rf"({a})^{{{b}}}",
            rf"\sqrt{{{a}}}",
            rf"\sqrt[{b}]{{{a}}}",
            rf"\sin({a})",
            rf"\tan({a}+{b})",
            rf"\log_{{{a}}}{{{b}}}",
            rf"\ln({a})",
            rf"({a})!",
            rf"|{a}|",
            rf"{a}={b}",
            rf"{a}<{b}",
            rf"({a},{b})",
            rf"\{{{a},{b}\}}",
            rf"\begin{{pmatrix}}{a}&{b}\\{b}&{a}\end{{pmatrix}}",
            rf"{a}\pm {b}",
            rf"\lfloor {a} \rfloor",
            rf"{a}\bmod {b}",
            rf"\binom{{{a}}}{{{b}}}",
        ]
    )


def by_hand(folder: str) -> list[str]:
    """The worst that people thought of; some of it would leave a file in the folder if it were run."""
    return [
        *_sizes(),
        *(code.replace("FOLDER", folder) for code in _CODE),
        *_CHARACTERS,
        *_POWERS,
    ]


def _sizes() -> list[str]:
    unit = ["{", "}", "(", "[", "^", "_", "|", "\\", "$", "!", ",", "-", "%", "&", "9", "a", " "]
    unit += [r"\frac", r"\sqrt{", r"\left(", r"\boxed{", "x^", "1/", "1,", r"\\", r"\text{"]
    some = [character * length for character in unit for length in (13, 199)]
    matrix = r"\begin{pmatrix}" + r"\\".join(["&".join("1" * 30)] * 30) + r"\end{pmatrix}"
    small = r"\begin{pmatrix}" + r"\\".join(["&".join("x" * 6)] * 6) + r"\end{pmatrix}"
    large = ["{" * 10**6, "}" * 10**6, "9" * 10**6, "x+" * (5 * 10**5), "\x00" * 10**6]
    return [*some, *large, matrix, small, small + "^{99}", "(" * 8 + "x" + ")^{2}" * 8]


_CODE = [
    "__import__('os').system('touch FOLDER/a')",
    'eval(\'__import__("os").system("touch FOLDER/b")\')',
    "open('FOLDER/c','w').write('x')",
    "exec(open('FOLDER/d','w'))",
    "().__class__.__bases__[0].__subclasses__()",
    "lambda: open('FOLDER/e', 'w')",
    'sympify(\'open("FOLDER/f","w")\')',
    r"\text{__import__('os').system('touch FOLDER/g')}",
    r"\operatorname{eval}(1)",
    r"\input{FOLDER/h}",
    r"\write18{touch FOLDER/i}",
    r"\immediate\write18{touch FOLDER/j}",
    r"\openout0=FOLDER/k",
    "x.__class__",
    "`touch FOLDER/l`",
    "$(touch FOLDER/m)",
    "'; touch FOLDER/n; '",
    "{{7*7}}",
    "${7*7}",
    "%s%n%x",
    "import os",
    "Symbol('x')",
    "S('1/0')",
    '{"__class__": "os"}',
    "quit()",
    "sys.exit(1)",
    "raise SystemExit",
    "os._exit(1)",
]

_CHARACTERS = [
    "\x00",
    "5\x00",
    "\ud800",
    "5\udfff",
    "\ud83d",
    "\u202e5",
    "\u200f\u200e",
    "\ufeff7",
    "\ufdfa" * 60,
    "e\u0301" * 90,
    "\u0301" * 190,
    "\U0001d7d8\U0001d7d9",
    "\u0664\u0662/\u0660",
    "\u00bd" * 199,
    "\u221a" * 199,
    "\u221a(" * 90,
    "\u00b2" * 199,
    "\u2460\u216b",
    "\u6f22\u5b57",
    "\x1b[31m5",
    "\r\n",
    "\x7f",
    "\u2028",
    "5\u2029",
    "\uffff",
    "\U0010ffff",
]

_POWERS = [
    r"10^{10^{10}}",
    r"10^{10^{10^{10}}}",
    r"9^{9^{9^{9}}}",
    "9**9**9**9",
    r"2^{2^{2^{2^{2^{2}}}}}",
    r"(-1)^{10^{9}+\frac{1}{3}}",
    r"\left(\frac{1}{3}\right)^{10^{8}}",
    r"1.0000001^{10^{9}}",
    r"0^{0^{0}}",
    r"x^{x^{x^{x}}}",
    r"i^{i^{i^{i}}}",
    r"e^{e^{e^{e^{e}}}}",
    r"\pi^{\pi^{\pi^{\pi}}}",
    r"((((9!)!)!)!)!",
    "100!!",
    "999!",
    r"\binom{999}{499}",
    r"\binom{n}{k}",
    r"\sqrt[10^9]{2}",
    r"\sqrt[0]{2}",
    r"\sqrt{\sqrt{\sqrt{\sqrt{\sqrt{2}}}}}",
    r"\frac{1}{\frac{1}{\frac{1}{\frac{1}{\frac{1}{0}}}}}",
    r"\frac{0}{0}",
    r"\frac{\infty}{\infty}",
    r"\infty-\infty",
    r"\log_0 0",
    r"\log_1 7",
    r"\ln(0)",
    r"\tan(\frac{\pi}{2})",
    r"\sin(10^{99})",
    r"\sin(\sin(\sin(\sin(\sin(x)))))",
    r"\arcsin(\arccos(\arctan(99x)))",
    r"(x+y+z+w)^{20}",
    r"(x^2+y^2)^{99}",
    r"\prod_{i=1}^{10^9} i",
    r"\sum_{i=1}^{\infty}\frac{1}{i^2}",
    r"\int_0^\infty e^{-x^2}dx",
    r"\lim_{x\to 0}\frac{\sin x}{x}",
    r"\frac{d}{dx}x^{x^{x}}",
    r"x^{100}+x^{99}+x+1=0",
    r"x^5-x-1=0",
    r"\sin(x)=x",
    r"\sin x<\cos y",
    "x^9+y^9=z^9",
    "1<x<2<y<3<z<4",
    r"|x|<|y|<|z|",
    r"[0,1]\cup[1,2]\cup[2,3]\cup[3,4]\cup[4,5]\cup[5,6]",
    r"(-\infty,\infty)\setminus\{0\}",
    r"\{x|x>0\}",
    r"\{\{\{\{\{\}\}\}\}\}",
    "[10^{99999},10^{99998}]",
    "-" * 150 + "1",
    "+".join("abcdefghjklm") + "=0",
    "x" * 150,
    "xyzw" * 40,
    "1.2.3.4.5",
    "1e99999999",
    "1e-99999999",
    "0x7fffffff",
    "1_000",
    "NaN",
    "inf",
    "-inf",
    "1/0",
    "1/00000",
    "0/0",
    "5%" * 60,
    "5%%%%",
    r"5\%\%",
    "=",
    "==",
    "=5",
    "5=",
    "x==5",
    "<5",
    "5<",
]
