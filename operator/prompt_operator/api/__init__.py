"""The five kinds, as pydantic models: the only source of crds/ and of the API reference."""

from prompt_operator.api.common import GROUP, VERSION
from prompt_operator.api.experiment import Experiment
from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptpolicy import PromptPolicy
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.api.promptversion import PromptVersion

__all__ = ["GROUP", "KINDS", "VERSION", "Experiment", "Prompt", "PromptPolicy", "PromptRollback", "PromptVersion"]

KINDS = (Prompt, PromptVersion, Experiment, PromptPolicy, PromptRollback)
