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


def equation_2(
    v_BD: "torch.Tensor", t_BD: "torch.Tensor", caption_B: "torch.Tensor", scale: "torch.Tensor | float"
) -> "torch.Tensor":
    """Half of Eq. 2 as it is printed: one text a sample and the whole positive mask.

        L = -1/2 1/B sum_i [   sum_j P_ij log softmax_k(<v_i, t_k> / tau)_j
                             + sum_j P_ji log softmax_k(<t_i, v_k> / tau)_j ]

    with P_ij = 1/n_i where caption j is caption i (P is symmetric: n_i = n_j). `multi_positive_loss` is
    the same number from distinct captions, when equal captions have equal features.

    Args:
        v_BD: (B, D) unit-norm image features.
        t_BD: (B, D) unit-norm text features.
        caption_B: (B,) int64, equal for equal captions; an arange makes each pair its own class (CLIP).
        scale: 1 / tau.

    Returns:
        Scalar, mean over samples, in nats.

    References: WristMIR §3.1, Eq. 2.
    """
    import torch

    same_BB = caption_B[:, None] == caption_B[None, :]
    logits_BB = scale * (v_BD @ t_BD.T)
    p_BB = same_BB.to(logits_BB.dtype) / same_BB.sum(1, keepdim=True)
    v2t_B = (p_BB * torch.log_softmax(logits_BB, dim=1)).sum(1)
    t2v_B = (p_BB.T * torch.log_softmax(logits_BB.T, dim=1)).sum(1)
    return -0.5 * (v2t_B + t2v_B).mean()


def gather(features_BD: "torch.Tensor") -> "torch.Tensor":
    """Return the features of all ranks in rank order, (W * B, D), without gradients.

    Without a process group there is one rank. All ranks must bring the same number of rows.
    """
    import torch

    features_BD = features_BD.detach().contiguous()
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return features_BD
    parts = [torch.empty_like(features_BD) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, features_BD)
    return torch.cat(parts)
