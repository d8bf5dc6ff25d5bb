import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "tests"))  # wandb_readback: reads an offline run back
