"""Faster parsing of LaTeX with the same results.

The grammar's parser spends most of its time on ANTLR's full LL prediction. The cheaper SLL
prediction, says ANTLR's documentation of ``PredictionMode.SLL``, gives the same parse tree or
reports a syntax error, because SLL considers all that LL does and both take the first that is
possible. That holds for each decision by itself. So SLL is asked first, except in the one rule
where it misleads, which is that of ``x^2``; and LL everywhere after a syntax error.

Integers, the other thing that takes long, are read without SymPy's help.
"""

from functools import lru_cache
from typing import Any

import math_verify.parser
from antlr4.atn.ParserATNSimulator import ParserATNSimulator
from antlr4.atn.PredictionMode import PredictionMode
from latex2sympy2_extended import latex2sympy2
from sympy import Integer

_MISLED = "atom_expr"


class _Mixed(ParserATNSimulator):
    def adaptivePredict(self, input: Any, decision: int, outerContext: Any) -> int:
        rule = self.parser.ruleNames[self.atn.decisionToState[decision].ruleIndex]
        self.predictionMode = PredictionMode.LL if rule == _MISLED else PredictionMode.SLL
        return super().adaptivePredict(input, decision, outerContext)


class FastConverter(latex2sympy2._Latex2Sympy):
    """latex2sympy's converter, with a cheaper first attempt."""

    _mixed = True

    def create_parser(self, latex_str: str) -> Any:
        parser = super().create_parser(latex_str)
        if self._mixed:
            tables = parser.atn, parser.decisionsToDFA, parser.sharedContextCache
            parser._interp = _Mixed(parser, *tables)
        return parser

    def parse_number(self, text: str) -> Any:
        # SymPy evaluates a text as Python for this, which takes a millisecond.
        digits = text.replace(",", "")
        if digits.isascii() and digits.isdigit():
            return Integer(int(digits))
        return super().parse_number(text)

    def parse(self, latex_str: str) -> Any:
        try:
            return super().parse(latex_str)
        except Exception:
            self._mixed = False
            return super().parse(latex_str)


def parse_faster() -> None:
    """Let math-verify parse so from now on in this process, and remember more than 20 texts."""
    latex2sympy2._Latex2Sympy = FastConverter
    parse = math_verify.parser.parse_latex_cached.__wrapped__
    math_verify.parser.parse_latex_cached = lru_cache(maxsize=4096)(parse)
