"""A detector in Python: many failed calls of one principal within five minutes."""

import json

from componentize_py_types import Err
from wit_world import WitWorld as World
from wit_world.imports import types

RULE = types.Rule(
    id="failed-calls",
    title="Many failed calls of one principal",
    description="A script that tries what it may do, or a broken job. Look at what was refused; revoke the credential if it is not yours.",
    severity=types.Severity.MEDIUM,
    techniques=["T1580"],
)
FAILURES = 5
WINDOW = 5 * 60 * 1_000_000
"""Microseconds."""
KEYS_MAX = 10_000


def texts(column: types.Column):
    """Reads a text column: row to str, or None."""
    offsets, data, valid = column.values.value.offsets, column.values.value.data, column.valid

    def get(row: int):
        return None if valid and not valid[row] else data[offsets[row] : offsets[row + 1]].decode()

    return get


failures: dict[str, list[int]] = {}
"""Times of the failed calls by routing key. Of the module, for each call of the host is given a world of its own."""


class WitWorld(World):
    def configure(self, json: str) -> types.Manifest:
        if json.strip() not in ("", "{}"):
            raise Err(f"this plugin takes no configuration, but was given {json}")
        return types.Manifest(
            id="failed-calls-python",
            version="0.1.0",
            description="Many failed calls of one principal, in Python.",
            classes=[],
            layers=["cloud"],
            columns=["status"],
            key=["actor_user_uid"],
            state_version=1,
            wants_time=False,
            rules=[RULE],
            config_schema="",
        )

    def detect(self, batch: types.Batch) -> types.Findings:
        status = texts(batch.columns[0])
        key = batch.key
        detections = []
        for row in range(batch.rows):
            who = key.data[key.offsets[row] : key.offsets[row + 1]].decode()
            if who and status(row) == "Failure":
                # The silent longest go first: a dict remembers the order of insertion.
                times = [at for at in failures.pop(who, []) if at > batch.time[row] - WINDOW]
                times.append(batch.time[row])
                if len(times) >= FAILURES:
                    detections.append(
                        types.Detection(RULE.id, types.Evidence_Rows([row]), None, f"{len(times)} calls failed within 5 minutes", [])
                    )
                    times = []
                failures[who] = times
                if len(failures) > KEYS_MAX:
                    del failures[next(iter(failures))]
        return types.Findings(detections, [], 0)

    def advance(self, time: int) -> types.Findings:
        return types.Findings([], [], 0)

    def save(self) -> bytes:
        return json.dumps(failures).encode()

    def restore(self, version: int, state: bytes) -> None:
        try:
            saved = json.loads(state)
        except ValueError as error:
            raise Err(f"the saved state cannot be read: {error}")
        failures.clear()
        failures.update(saved)
