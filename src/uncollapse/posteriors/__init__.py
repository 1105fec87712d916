"""Posterior heads, which also work outside this package:

q = BatchNormTau(256, 32, tau=0.5)(h)
loss = rec + q.kl.sum(-1).mean()
"""

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.interfaces.posterior import Posterior
from uncollapse.posteriors.bn_mu import BatchNormMu
from uncollapse.posteriors.bn_tau import BatchNormTau
from uncollapse.posteriors.delta import Delta, DeltaAR1
from uncollapse.posteriors.du import DU
from uncollapse.posteriors.gaussian import Gaussian
from uncollapse.posteriors.iaf import InverseAutoregressiveFlow
from uncollapse.posteriors.lm import NoCode
from uncollapse.posteriors.ln_mu import LayerNormMu
from uncollapse.posteriors.mog import MixtureOfGaussians
from uncollapse.posteriors.rms_tau import RMSNormTau
from uncollapse.posteriors.scale import Scale
from uncollapse.posteriors.vamp import Vamp
from uncollapse.posteriors.vmf import VonMisesFisher

__all__ = [
    "DU",
    "BatchNormMu",
    "BatchNormTau",
    "Delta",
    "DeltaAR1",
    "DiagonalGaussian",
    "Gaussian",
    "InverseAutoregressiveFlow",
    "LayerNormMu",
    "MixtureOfGaussians",
    "NoCode",
    "Posterior",
    "RMSNormTau",
    "Scale",
    "Vamp",
    "VonMisesFisher",
]
