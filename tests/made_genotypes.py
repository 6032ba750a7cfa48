"""Genotypes as texts, for the tests of their forms and of what is done with them."""

from __future__ import annotations

from pathlib import Path

from nasrun.spaces.darts import Darts

SPACE = Darts(
    channels=4, cells=3, partial_channels=1, stem="cifar",
    operations=["max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"],
)  # fmt: skip
# fmt: off
NORMAL = [("sep_conv_3x3", 0), ("skip_connect", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
          ("skip_connect", 0), ("sep_conv_3x3", 3), ("sep_conv_3x3", 1), ("skip_connect", 4)]
REDUCE = [("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
          ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1)]
TEXT = (f"Genotype(normal={NORMAL}, normal_concat=range(2, 6), "
        f"reduce={REDUCE}, reduce_concat=range(2, 6))")
# fmt: on
OTHER = f"Genotype(normal={REDUCE}, normal_concat=[2, 5], reduce={NORMAL}, reduce_concat=[3])"
CELL_201 = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"


def module(tmp_path: Path, text: str) -> str:
    (tmp_path / "genotypes.py").write_text(text)
    return str(tmp_path / "genotypes.py")


MODULE = f"""
from collections import namedtuple
Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')
class Genotype(NamedTuple): ...
PRIMITIVES = ['none', 'max_pool_3x3']
NASNet = Genotype(normal=[('sep_conv_5x5', 1)] , reduce=[], normal_concat=[2])
FIRST = {TEXT}
#FIRST = {OTHER}
SECOND = {OTHER}
def derive(gene): return Genotype(normal=gene, normal_concat=range(2, 6), reduce=gene)
DARTS = FIRST  # the default
"""
