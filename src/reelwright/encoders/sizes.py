"""How large encoders are, from their settings alone."""

import torch
import transformers
from torch import nn

from reelwright.encoders.quiet_networks import import_networks
from reelwright.protocols.estimates import EncoderSize


def t5_size(config: "transformers.T5Config", num_tokens: int) -> EncoderSize:
    """The T5 encoder, for one prompt of so many tokens."""
    import_networks()
    with torch.device("meta"):
        network = transformers.T5EncoderModel(config)
    inner = config.num_heads * config.d_kv
    return _size(
        "T5",
        network,
        num_tokens,
        widths=(config.d_model, inner, config.d_ff),
        heads=config.num_heads,
        is_large=True,
    )


def llama_size(config: "transformers.LlamaConfig", num_tokens: int, num_unread: int) -> EncoderSize:
    """LLaMA without its last layers, whose output is not read."""
    import_networks()
    with torch.device("meta"):
        network = transformers.LlamaModel(config)
    network.layers = network.layers[:-num_unread]
    widths = (config.hidden_size, config.hidden_size, config.intermediate_size)
    heads = config.num_attention_heads
    return _size("LLaMA", network, num_tokens, widths=widths, heads=heads, is_large=True)


def clip_size(config: "transformers.CLIPTextConfig") -> EncoderSize:
    """CLIP's text encoder."""
    import_networks()
    with torch.device("meta"):
        network = transformers.CLIPTextModel(config)
    widths = (config.hidden_size, config.hidden_size, config.intermediate_size)
    heads, tokens = config.num_attention_heads, config.max_position_embeddings
    return _size("CLIP", network, tokens, widths=widths, heads=heads, is_large=False)


def siglip_size(config: "transformers.SiglipVisionConfig") -> EncoderSize:
    """SigLIP's image encoder."""
    import_networks()
    with torch.device("meta"):
        network = transformers.SiglipVisionModel(config)
    widths = (config.hidden_size, config.hidden_size, config.intermediate_size)
    heads = config.num_attention_heads
    return _size("SigLIP", network, count_patches(config), widths=widths, heads=heads, is_large=False)


def count_patches(config: "transformers.SiglipVisionConfig") -> int:
    """Features that it gives of a picture."""
    side, patch = config.image_size, config.patch_size
    assert isinstance(side, int)
    assert isinstance(patch, int)
    return (side // patch) ** 2


def _size(
    name: str,
    network: nn.Module,
    num_tokens: int,
    *,
    widths: tuple[int, int, int],
    heads: int,
    is_large: bool,
) -> EncoderSize:
    """widths: of a token, of the heads together, and inside of the feed-forward."""
    parameters = sum(each.numel() for each in network.parameters())
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=len)
    largest = max(sum(each.numel() for each in layer.parameters()) for layer in layers)
    tables = [each.weight.numel() for each in network.modules() if isinstance(each, nn.Embedding)]
    width, inner, expanded = widths
    # Scores and the bias of positions are both of every pair of tokens, for each head.
    activations = num_tokens * (4 * width + max(4 * inner, 3 * expanded)) + 3 * heads * num_tokens**2
    return EncoderSize(
        name=name,
        num_parameters=parameters,
        largest_layer=max(largest, *tables, 0),
        activations=activations,
        flops=2.0 * num_tokens * (parameters - sum(tables)),
        is_text=name != "SigLIP",
        is_large=is_large,
    )
