import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
class Grouping(Protocol):
    ranks: int
    size: int
    period: int
    def members(self, rank: int, step: int) -> Sequence[int]: ...
@dataclass(frozen=True)
class Strided:
    ranks: int
    size: int
    @property
    def period(self): return 1 if self.size in (1,self.ranks) else max(2, math.ceil(math.log(self.ranks)/math.log(self.size)-1e-9))
    def members(self, rank, step):
        P,S=self.ranks,self.size; n=-(-P//S); t=(step-1)%self.period
        d=pow(S,t,P) or 1
        while math.gcd(d,P)!=1: d+=1
        o=t
        pos=(rank-o)*pow(d,-1,P)%P if P>1 else 0
        g=((pos+1)*n-1)//P
        return tuple(sorted((p*d+o)%P for p in range(g*P//n,(g+1)*P//n)))
class Butterfly(Strided): pass
def choose(ranks,size=None):
    return Strided(ranks, size or max(1 if ranks==1 else 2, round(ranks**.5)))
def check(g,ranks): pass
