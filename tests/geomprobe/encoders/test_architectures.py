"""Models of all kinds: measured by the part that reads text, or refused with words; and left as they were."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as tf
import typer
from typer.testing import CliRunner

import geomprobe
from geomprobe.cli.analyze import analyze
from geomprobe.cli.errors import guard
from geomprobe.common import InputError
from geomprobe.encoders import Encoder, load_encoder

IDS = [[2, 5, 6, 7, 8, 3]]
COMMON = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT = COMMON | {"max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
VISION = {key: value for key, value in COMMON.items() if key != "vocab_size"} | {"image_size": 8, "patch_size": 4}
BART = {"vocab_size": 64, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 32,
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}  # fmt: skip
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}


def lively(model):
    """Give a model weights larger than at initialisation, so that differences are seen."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def saved(model_folder, tmp_path):
    """Return a function that saves a model with the words' tokenizer."""

    def save(model, name="model-folder", *, tokenizer=True):
        model.save_pretrained(tmp_path / name)
        for file in ("tokenizer.json", "tokenizer_config.json") if tokenizer else ():
            shutil.copy(model_folder("bert") / file, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (tf.T5EncoderModel, tf.T5Config(**T5)),
        (tf.MT5EncoderModel, tf.MT5Config(**T5)),
        (tf.UMT5EncoderModel, tf.UMT5Config(**T5)),
        (lambda config: tf.BartModel(config).encoder, tf.BartConfig(**BART)),
        (lambda config: tf.M2M100Model(config).encoder, tf.M2M100Config(**BART)),
        (lambda config: tf.MarianModel(config).encoder, tf.MarianConfig(**BART)),
        (lambda config: tf.PegasusModel(config).encoder, tf.PegasusConfig(**BART)),
    ],
    ids=["t5", "mt5", "umt5", "bart", "m2m100", "marian", "pegasus"],
)
def test_an_encoder_saved_without_its_decoder(saved, make, config):
    model = lively(make(config))
    opened = load_encoder(saved(model))
    with torch.no_grad():
        expected = model(torch.tensor(IDS), output_hidden_states=True)
    states, _ = opened.states(IDS)
    assert len(states) == 3
    for ours, theirs in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(states[-1], expected.last_hidden_state)
    assert load_encoder(model, tokenizer=opened.tokenizer).hash == opened.hash


def test_an_encoder_alone_and_in_its_whole_model_are_the_same(saved):
    whole = lively(tf.T5ForConditionalGeneration(tf.T5Config(**T5)))
    alone = tf.T5EncoderModel.from_pretrained(saved(whole, "whole"))
    opened, without = load_encoder(saved(whole, "whole")), load_encoder(saved(alone, "alone"))
    assert opened.hash == without.hash == load_encoder(whole, tokenizer=opened.tokenizer).hash
    assert any("decoder is not used" in note for note in opened.notes)
    assert not any("decoder" in note for note in without.notes)


def test_a_weight_missing_from_an_encoder_alone_is_refused(saved):
    from safetensors.torch import load_file, save_file

    folder = saved(lively(tf.T5EncoderModel(tf.T5Config(**T5))))
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are missing.*block\.1\.layer\.0\.SelfAttention\.q"):
        load_encoder(folder)


def clip():
    return tf.CLIPModel(tf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8))


def siglip():
    return tf.SiglipModel(tf.SiglipConfig(text_config=TEXT, vision_config=VISION))


def blip():
    return tf.BlipModel(tf.BlipConfig(text_config=TEXT, vision_config=VISION, projection_dim=8))


def llava():
    text = tf.LlamaConfig(**TEXT)
    return tf.LlavaForConditionalGeneration(
        tf.LlavaConfig(text_config=text, vision_config=tf.CLIPVisionConfig(**VISION))
    )


@pytest.mark.parametrize("make", [clip, siglip, blip, llava])
def test_the_text_part_of_a_model_that_sees_too_is_measured_and_named(saved, make):
    model = lively(make())
    opened = load_encoder(saved(model))
    part = getattr(model.base_model, "text_model", None) or model.base_model.language_model
    with torch.no_grad():
        expected = part(torch.tensor(IDS), attention_mask=torch.ones(1, 6, dtype=torch.long)).last_hidden_state
    torch.testing.assert_close(opened.states(IDS)[0][-1], expected)
    assert any("on text alone" in note for note in opened.notes)
    assert opened.hash == load_encoder(model, tokenizer=opened.tokenizer).hash


def vit():
    return tf.ViTModel(tf.ViTConfig(**VISION))


def whisper():
    return tf.WhisperModel(
        tf.WhisperConfig(
            **BART
            | {"max_source_positions": 16, "max_target_positions": 16, "num_mel_bins": 4, "decoder_start_token_id": 2}
        )
    )


def wav2vec():
    convolution = {
        "conv_dim": [8, 8],
        "conv_stride": [2, 2],
        "conv_kernel": [3, 3],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    return tf.Wav2Vec2Model(tf.Wav2Vec2Config(**COMMON, **convolution))


def vilt():
    return tf.ViltModel(tf.ViltConfig(**COMMON, image_size=8, patch_size=4))


@pytest.mark.parametrize("make", [vit, whisper, wav2vec, vilt])
@pytest.mark.parametrize("tokenizer", [True, False])
def test_models_that_need_more_than_text_are_refused(saved, make, tokenizer):
    with pytest.raises(
        InputError, match="does not run on text alone" if tokenizer or make is not vilt else "tokenizer"
    ):
        load_encoder(saved(make(), tokenizer=tokenizer))


@pytest.mark.parametrize(("make", "code"), [(vit, 3), (clip, 0)])
def test_such_models_on_the_command_line(saved, tmp_path, monkeypatch, make, code):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    texts = [{"text": f"the cat sat {'on a mat' if i % 2 else 'very'} {'big ' * (i % 9)}"} for i in range(50)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    app = typer.Typer()
    app.command()(guard(analyze))
    arguments = [saved(lively(make())), "--task", tmp_path / "t.jsonl", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "on text alone" in result.output


@pytest.mark.parametrize(
    "config",
    [
        tf.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4),
        tf.XLNetConfig(vocab_size=64, d_model=16, n_layer=2, n_head=2, d_inner=32),
        tf.AlbertConfig(**TEXT, embedding_size=8),
        tf.ElectraConfig(**TEXT, embedding_size=8),
        tf.MixtralConfig(**TEXT, num_key_value_heads=2, num_local_experts=2),
        tf.OPTConfig(**TEXT, ffn_dim=32, word_embed_proj_dim=16),
    ],
    ids=lambda config: config.model_type,
)
def test_other_architectures_run(saved, config):
    model = lively(tf.AutoModel.from_config(config))
    opened = load_encoder(saved(model))
    vectors = geomprobe.embed(opened, ["the cat sat", "a", "the dog saw the big bird ."])
    alone = [geomprobe.embed(opened, [text])[0] for text in ["the cat sat", "a", "the dog saw the big bird ."]]
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    assert opened.hash == load_encoder(model, tokenizer=opened.tokenizer).hash


def big_bird():
    return tf.BigBirdModel(
        tf.BigBirdConfig(**TEXT | {"max_position_embeddings": 256}, block_size=8, num_random_blocks=1)
    )


def long_rope():
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 32}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    return tf.LlamaModel(tf.LlamaConfig(**TEXT | {"max_position_embeddings": 256}, rope_parameters=rope))


@pytest.mark.parametrize("make", [big_bird, long_rope])
def test_states_do_not_depend_on_the_texts_before(model_folder, make):
    tokenizer = load_encoder(model_folder("bert")).tokenizer
    tokenizer.model_max_length = 256
    rng = np.random.default_rng(0)
    words = tokenizer.decode(range(5, 20)).split()
    texts = [" ".join(rng.choice(words, size=size)) for size in (3, 200, 20, 150, 8, 40, 31)]
    model = lively(make())
    before = {name: type(module) for name, module in model.named_modules()}
    encoder = load_encoder(model, tokenizer=tokenizer)
    together = geomprobe.embed(encoder, texts)
    assert [layer.shape for layer in encoder.states(encoder.tokenize([texts[1]])[0])[0]] == [(1, 202, 16)] * 3
    fresh = [geomprobe.embed(load_encoder(lively(make()), tokenizer=tokenizer), [text])[0] for text in texts]
    np.testing.assert_allclose(together, fresh, atol=2e-6)
    np.testing.assert_array_equal(geomprobe.embed(encoder, texts), together)
    np.testing.assert_array_equal(geomprobe.embed(encoder, texts[::-1])[::-1], together)
    assert {name: type(module) for name, module in model.named_modules()} == before
    with torch.no_grad():  # what the model gives by itself, on a text that is long for it
        ids = torch.tensor(encoder.tokenize([texts[1]])[0][0])[None].long()
        expected = lively(make())(ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)
    np.testing.assert_allclose(together[1], expected[0], atol=2e-6)


class Growing(torch.nn.Module):
    """A model with a state that the longest input of a batch sets for good."""

    def __init__(self):
        super().__init__()
        self.config = tf.BertConfig(**TEXT)
        self.table = torch.nn.Embedding(64, 8)
        self.longest = 10
        self.register_buffer("scale", torch.ones(1))

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask=None, **_):
        if input_ids.shape[1] > self.longest:
            self.longest = input_ids.shape[1]
            self.scale = self.scale * 2
        states = self.table(input_ids) * self.scale
        return SimpleNamespace(hidden_states=(states, states), last_hidden_state=states)


def test_a_model_that_grows_with_a_long_batch():
    model = Growing()
    encoder = Encoder("growing", "", "loaded model", model, SimpleNamespace(pad_token_id=0))
    short, long = [5, 6, 7], list(range(5, 25))
    states, mask = encoder.states([short, long])
    torch.testing.assert_close(states[-1][0, :3], model.table(torch.tensor(short)))
    torch.testing.assert_close(states[-1][1], 2 * model.table(torch.tensor(long)))
    assert mask.sum(1).tolist() == [3, 20]
    assert model.longest == 10
    assert model.scale.item() == 1


def test_a_model_that_draws_random_numbers_is_refused(model_folder):
    small = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "attention_head_size": 8}
    small |= {"feed_forward_size": 32, "max_position_embeddings": 256, "axial_pos_embds": False}
    small |= {"attn_layers": ["lsh"], "lsh_attn_chunk_length": 16, "num_buckets": 4}
    tokenizer = load_encoder(model_folder("bert")).tokenizer
    ids = [[5 + i % 20 for i in range(64)]]
    with pytest.raises(InputError, match="draws random numbers"):
        load_encoder(lively(tf.ReformerModel(tf.ReformerConfig(**small))), tokenizer=tokenizer).states(ids)
    seeded = load_encoder(lively(tf.ReformerModel(tf.ReformerConfig(**small, hash_seed=3))), tokenizer=tokenizer)
    before = torch.get_rng_state()
    torch.testing.assert_close(seeded.states(ids)[0][-1], seeded.states(ids)[0][-1], atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hash_follows_weights_that_are_trained_on(model_folder):
    encoder = load_encoder(model_folder("bert"))
    before = encoder.hash
    weight = encoder.model.encoder.layer[0].output.dense.weight
    optimiser = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones_like(weight)
    optimiser.step()
    after = encoder.hash
    assert after != before
    with torch.no_grad():
        weight.copy_(load_encoder(model_folder("bert")).model.encoder.layer[0].output.dense.weight)
    assert encoder.hash == before
