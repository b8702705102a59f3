"""
Sends events with edx-event-bus-kafka's own producer. Reads one JSON object a line from standard input:

  {"type": "<event type>", "topic": "<without prefix>", "key_field": "a.b", "data": {...},
   "metadata": {"id", "time", "source", "sourcehost", "minorversion", "sourcelib"}}

"metadata" and each of its fields may be left out. Without "topic" the event is sent as a signal, and goes where
EVENT_BUS_PRODUCER_CONFIG (JSON) says; then only "time" of the metadata is heeded. Data is as plain.py says.

Prints the metadata of each event that the producer took, flushes at the end, and exits with 1 when the packages logged
an error: they raise none.
"""

import json
import sys
from datetime import datetime
from uuid import UUID

import service


def main():
    service.start()
    failures = []
    service.Errors(failures.append)

    from openedx_events.event_bus import get_producer

    for line in sys.stdin:
        before = len(failures)
        metadata = send(json.loads(line))
        if len(failures) == before:
            print(metadata.to_json(), flush=True)
    get_producer().prepare_for_shutdown()
    return 1 if failures else 0


def send(order):
    from openedx_events.event_bus import get_producer
    from openedx_events.event_bus.avro.deserializer import AvroSignalDeserializer
    from openedx_events.tooling import OpenEdxPublicSignal
    from plain import from_plain

    signal = OpenEdxPublicSignal.get_signal_by_type(order["type"])
    data = AvroSignalDeserializer(signal).from_dict(from_plain(order["data"]))
    metadata = metadata_of(signal, order.get("metadata", {}))
    if "topic" in order:
        get_producer().send(
            signal=signal,
            topic=order["topic"],
            event_key_field=order["key_field"],
            event_data=data,
            event_metadata=metadata,
        )
        return metadata

    sent = []

    def receiver(metadata, **_):
        sent.append(metadata)

    signal.connect(receiver)
    signal.send_event(time=metadata.time, **data)
    signal.disconnect(receiver)
    return sent[0]


def metadata_of(signal, given):
    from openedx_events.data import EventsMetadata

    given = {"minorversion": signal.minor_version, **given}
    readers = {"id": UUID, "time": datetime.fromisoformat, "sourcelib": tuple}
    return EventsMetadata(
        event_type=signal.event_type, **{name: readers.get(name, lambda same: same)(value) for name, value in given.items()}
    )


if __name__ == "__main__":
    sys.exit(main())
