"""The two fields of a PromptRollback that a person signs: `release` and `acknowledge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.cli.errors import Refused
from prompt_operator.ports import PROMPT_ROLLBACK

if TYPE_CHECKING:
    from typing import Literal

    from prompt_operator.api.promptrollback import PromptRollback
    from prompt_operator.cli.session import Session


async def sign(session: Session, record: PromptRollback, field: Literal["release", "acknowledge"], reason: str) -> None:
    """Set the field with the user's name; Refused when somebody did it before, since it can be set only once."""
    before = record.spec.release if field == "release" else record.spec.acknowledge
    if before is not None:
        raise Refused(f"{record.metadata.name}: {before.by} did that already ({before.reason}).")
    signature = {"by": await session.user(), "reason": reason}
    change = {"op": "add", "path": f"/spec/{field}", "value": signature}
    await session.cluster.json_patch(PROMPT_ROLLBACK, session.namespace, record.metadata.name, [change])
