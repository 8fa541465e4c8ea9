"""Open any text encoder (folder, hub id, loaded model) and say exactly what was opened."""

from geomprobe.encoders.encoder import Encoder
from geomprobe.encoders.opening import DTYPES, load_encoder
from geomprobe.encoders.tokenizers import tokenizer_hash
