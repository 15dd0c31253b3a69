"""From the store, and one or two reads where something must be written, to the facts of one decision."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from prompt_operator.core.facts import Content, Facts
from prompt_operator.core.policy import effective
from prompt_operator.core.project import config_map_name
from prompt_operator.core.projection import entry_of, observe
from prompt_operator.engine.store import Name
from prompt_operator.ports import CONFIG_MAP, DEFAULT_SOURCE, PROMPT_VERSION, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.facts import Readings
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.engine.store import PromptRecord, Store
    from prompt_operator.engine.texts import Texts
    from prompt_operator.ports import Cluster


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every decision needs beside the store."""

    operator_mode: str
    """Active, Fallback or Frozen."""
    fresh_for: timedelta
    profiles: Mapping[str, Profile]
    """Metric profiles by name."""
    lags: Mapping[str, timedelta] = field(default_factory=dict)
    """How far behind the present the data of each metric source may be; there are no other sources."""


def gather(store: Store, name: Name, record: PromptRecord, readings: Readings | None, around: Surroundings) -> Facts:
    """Return the facts as far as memory knows them.

    Raises:
        pydantic.ValidationError: the Prompt was written under another CRD than this release's.
    """
    prompt = record.parsed()
    policy_spec, missing = store.policy_of(record, name.namespace)
    policy = effective(prompt.spec, policy_spec, name.namespace)
    source = policy.source or DEFAULT_SOURCE
    facts = Facts(
        prompt=prompt,
        policy=policy,
        policy_missing=missing,
        versions=store.versions_of(name),
        records=store.rollbacks_of(name),
        config_map=None,
        config_map_known=False,
        stray_config_maps=(),
        readings=readings,
        contents={},
        operator_mode=around.operator_mode,
        fresh_for=around.fresh_for + around.lags.get(source, timedelta()),
        desired_by=record.desired_by,
        acts=record.acts,
        profile_missing=policy.profile if policy.profile not in around.profiles else "",
        source_missing=policy.source if policy.source and source not in around.lags else "",
        measured=source in around.lags,
        profile=around.profiles.get(policy.profile),
    )
    wanted = config_map_name(facts)
    observed = store.config_maps.get(Name(name.namespace, wanted))
    strays = tuple(each for each in store.config_maps_of(name) if each.name != wanted and each.belongs_to(name.name))
    return replace(facts, config_map=observed, config_map_known=observed is not None, stray_config_maps=strays)


async def read_content(cluster: Cluster, texts: Texts, facts: Facts, version: str) -> Facts:
    """Read the version's content, and the ConfigMap where the store has none: a foreign one may stand there."""
    content, facts = await asyncio.gather(_content(cluster, texts, facts, version), _config_map(cluster, facts))
    return facts if content is None else replace(facts, contents={**facts.contents, version: content})


async def _content(cluster: Cluster, texts: Texts, facts: Facts, version: str) -> Content | None:
    record = facts.versions.get(version)
    if record is None:
        return None
    spec = texts.find(record.content_hash)
    try:
        spec = spec or (await cluster.get(PROMPT_VERSION, record.namespace, record.name))["spec"]
    except NotFound:
        return None
    entry = entry_of(spec)
    return Content(version, entry["hash"], entry)


async def _config_map(cluster: Cluster, facts: Facts) -> Facts:
    if facts.config_map_known:
        return facts
    try:
        manifest = await cluster.get(CONFIG_MAP, facts.prompt.metadata.namespace, config_map_name(facts))
    except NotFound:
        return replace(facts, config_map=None, config_map_known=True)
    return replace(facts, config_map=observe(manifest), config_map_known=True)
