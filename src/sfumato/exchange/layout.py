"""Names of files, fields and settings of diffusers, for export and import."""

LIBRARY = "diffusers"

INDEX = "model_index.json"
"""File that names the classes of a pipeline."""

CONFIG, SCHEDULER_CONFIG = "config.json", "scheduler_config.json"
"""Files with the settings of a network and of a scheduler."""

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"

PIPELINE = "SfumatoPipeline"
"""Class of the pipeline in folders with their own code."""

DESCRIPTION = "description"
"""Field of `INDEX` with the configuration of the model, in folders with their own code."""

STOCK_DESCRIPTION = "_sfumato"
"""The same in folders of stock classes; diffusers ignores fields that begin with an underscore."""

PREDICTIONS = {"noise": "epsilon", "data": "sample", "velocity": "v_prediction"}
"""Parametrizations that the stock schedulers have, by our names."""

BETA_SCHEDULES = {"linear": "linear", "scaled-linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
"""Noise schedules that the stock schedulers have, by our names."""
