"""The training objective: half of WristMIR's Eq. 2, over the global batch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def multi_positive_loss(
    image_ID: "torch.Tensor", text_UD: "torch.Tensor", caption_I: "torch.Tensor", scale: "torch.Tensor | float"
) -> "torch.Tensor":
    """Symmetric contrastive loss in which all samples of one caption are each other's positives.

    L = 1/2 (L_i2t + L_t2i) with P_ij = 1/n_i for the n_i samples whose caption is that of sample i.
    Each distinct caption u comes once, with its count n_u; with l_iu = scale <v_i, t_u>,

        L_i2t = -mean_i [ l_{i,u(i)} - log sum_u n_u exp l_iu ]
        L_t2i = -mean_i [ l_{i,u(i)} - log sum_k exp l_{k,u(i)} ]

    Eq. 2 sums the two directions; the half is CLIP's scale, which matters to gradient clipping. With
    one sample a caption this is `open_clip.ClipLoss`.

    Args:
        image_ID: (I, D) unit-norm image features of the global batch.
        text_UD: (U, D) unit-norm features of distinct captions.
        caption_I: (I,) int64, row of `text_UD` that is image i's caption.
        scale: 1 / temperature.

    Returns:
        Scalar, mean over images, in nats.

    Raises:
        ValueError: an image has no positive caption (its index lies outside `text_UD`), or none is given.

    References: WristMIR §3.1, Eq. 2.
    """
    import torch

    if not len(caption_I) or len(caption_I) != len(image_ID):
        raise ValueError(f"{len(image_ID)} images need as many caption indices, at least one; got {len(caption_I)}")
    if int(caption_I.min()) < 0 or int(caption_I.max()) >= len(text_UD):
        raise ValueError("an image has no positive caption")
    logits_IU = scale * (image_ID @ text_UD.T)
    count_U = torch.bincount(caption_I, minlength=len(text_UD)).to(logits_IU.dtype)
    positive_I = logits_IU.gather(1, caption_I[:, None]).squeeze(1)
    all_texts_I = torch.logsumexp(logits_IU + count_U.log(), dim=1)
    all_images_U = torch.logsumexp(logits_IU, dim=0)
    return (0.5 * (all_texts_I + all_images_U[caption_I]) - positive_I).mean()


def gather(features_BD: "torch.Tensor") -> "torch.Tensor":
    """Return the features of all ranks in rank order, (W * B, D); gradients flow back to their ranks.

    Without a process group there is one rank. All ranks must bring the same number of rows.
    """
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return features_BD
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(features_BD))  # type: ignore[no-untyped-call]
