"""What mathematics is written with: texts whose tokens are no mixtures in SwiReasoning's released code."""

_PLAIN = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-*/^=<>()[]{}_|"
_COMMANDS = r"""
    \leq \geq \neq \approx \sim \equiv \to \implies \iff
    \left( \right) \left[ \right] \left\{ \right\} \begin{pmatrix} \end{pmatrix}
    \frac \dfrac \sqrt \sqrt[] \binom \choose \cdot \dots \ldots \cdots \vdots \ddots
    \in \notin \subset \supset \subseteq \supseteq \cup \cap \emptyset \varnothing
    \pi \theta \alpha \beta \gamma \delta \epsilon \zeta \lambda \mu \nu
    \sin \cos \tan \cot \cotg \sec \csc \arcsin \arccos \arctan \log \ln \exp
    \sum \prod \int \lim \min \max \arg \deg \gcd \operatorname
    \mathbb \mathbf \mathrm \text \mbox \boxed \overline \underline
    \infty \circ \prime \ast \star \triangle \triangleleft \triangleright \perp \parallel \angle
    \lceil \rceil \lfloor \rfloor \left \right \mid \vert \Vert
    \because \therefore \forall \exists \wedge \vee \neg
"""

SYMBOLS: tuple[str, ...] = (*_PLAIN, *_COMMANDS.split())
"""Digits, letters, signs and LaTeX commands."""
