"""Reads what a job has written for TensorBoard."""

from pathlib import Path


def scalars(directory: Path) -> list[tuple[int, str, float]]:
    """Return (step, name, value) of all scalars in the event files of a directory."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.iterdir()):
        content = path.read_bytes()
        while content:  # each record: the size of an event, a checksum, the event, a checksum
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            content = content[16 + size :]
    return found
