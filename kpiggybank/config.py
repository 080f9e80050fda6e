"""The settings in force."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.endpoints import quoteStringArgument

from kpiggybank.settings import SETTINGS

#: Connections that wait in the kernel: after a restart all followers come back at once.
BACKLOG = 1000


@attrs.frozen
class Config:
    """The settings in force; the attributes are those of `SETTINGS`, ports being integers."""

    db_backend: str
    db_host: str
    db_port: int
    db_name: str
    db_user: str
    db_pass: str = attrs.field(repr=False)
    db_connect_timeout: float
    db_answer_timeout: float
    db_total_timeout: float
    host: str
    port: int
    listen: str
    stall_timeout: float
    write_token: tuple[str, ...] = attrs.field(repr=False)
    write_token_file: str
    read_token: tuple[str, ...] = attrs.field(repr=False)
    read_token_file: str
    allow_anonymous: bool
    cors_origins: tuple[str, ...]
    cors_read: bool
    allowed_hosts: tuple[str, ...]
    max_body: int
    max_event: int
    max_depth: int
    max_events: int
    max_connections: int
    max_requests: int
    max_request_bytes: int
    head_timeout: float
    body_timeout: float
    idle_timeout: float
    data_dir: str
    mode: str
    log_format: str
    access_log: str
    metrics: str
    source_url: str
    source_commit: str

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str], options: Mapping[str, str | None] | None = None
    ) -> Config:
        """The settings from options, else the environment, else their defaults.

        Args:
            environ: the environment. An empty variable counts as not set, save that an empty
                DB_USER or DB_PASS is a value.
            options: texts by the option's name; None stands for an option that was not given.

        Raises:
            ConfigError: a value is not what its setting accepts.
        """
        values = {}
        for setting in SETTINGS:
            text = (options or {}).get(setting.option)
            if text is None:
                text = environ.get(setting.variable)
                if text is None or (text == "" and not setting.empty):
                    text = setting.default
            values[setting.attribute] = setting.value(text)
        config = cls(**values)
        if not config.data_dir:
            # systemd may name several folders, separated by colons; the first is ours.
            state = environ.get("STATE_DIRECTORY", "").split(":")[0]
            config = attrs.evolve(config, data_dir=state or ".")
        return config

    @property
    def logs_access(self) -> bool:
        """Whether each request is a line in the log."""
        return self.access_log == "on" or (self.access_log == "" and self.mode == "dev")

    @property
    def endpoint(self) -> str:
        """Where to listen, as a Twisted endpoint string."""
        if self.listen:
            return self.listen
        return f"tcp:{self.port}:interface={quoteStringArgument(self.host)}:backlog={BACKLOG}"
