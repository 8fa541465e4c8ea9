"""What the three packages share once: errors, atomic writes, hashing. Standard library only."""

from geomprobe.common.atomic import atomic_path
from geomprobe.common.errors import (
    GeomprobeError,
    InputError,
    Terminated,
    UsageError,
    first_line,
    refusing,
    shortened,
    unknown_name,
)
from geomprobe.common.files import bounded_lines, cache_dir, read_json, write_bytes, write_json, write_text
from geomprobe.common.hardware import processor_name
from geomprobe.common.hashing import hash_bytes, hash_file
from geomprobe.common.memory import gigabytes, machine_bytes, refuse_beyond_memory
from geomprobe.common.names import brief, first_to_last, listed, model_name
from geomprobe.common.outputs import check_output_file, check_output_folder, hold_folder
from geomprobe.common.processes import run_command, torchrun_place
