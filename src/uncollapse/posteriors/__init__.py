"""Posterior heads, usable alone: `q = BatchNormTau(256, 32, tau=0.5)(h); loss = rec + q.kl.sum(-1)`."""

from uncollapse.posteriors.bn_mu import BatchNormMu
from uncollapse.posteriors.bn_tau import BatchNormTau
from uncollapse.posteriors.gaussian import Gaussian
from uncollapse.posteriors.ln_mu import LayerNormMu
from uncollapse.posteriors.normal import DiagonalGaussian, Posterior
from uncollapse.posteriors.rms_tau import RMSNormTau

__all__ = ["BatchNormMu", "BatchNormTau", "DiagonalGaussian", "Gaussian", "LayerNormMu", "Posterior", "RMSNormTau"]
