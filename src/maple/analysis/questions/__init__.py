"""The paper's findings as hypotheses, H1 to H11, each answered by the study as far as it can.

A verdict is "supported" where the data exclude that the claim is wrong, "contradicted" where they
exclude that it is right by as much as `effects.MARGIN`, and "undecided" else: an absence of
evidence is no evidence. All p-values that verdicts rest on are one family, corrected by Holm.

Claims that something rises are right from 0 upwards and count as wrong below the margin; claims
that two things are alike are right within the margin and count as wrong where 0 is excluded. Where
a claim has several parts, all must hold, and its p-value is the largest of theirs (Berger 1982).
"""

from maple.analysis.questions.answers import findings

__all__ = ["findings"]
