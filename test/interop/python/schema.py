"""
Prints the Avro schema of an event type, in the exact text that edx-event-bus-kafka registers:

  schema.py <event type>                  of the value
  schema.py <event type> --key-field a.b  of the key
  schema.py --all                         of every event type of openedx-events, as JSON
                                          {"<event type>": {"minor_version", "schema" | "error"}}
"""

import argparse
import json
import sys

import service


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("type", nargs="?")
    parser.add_argument("--key-field")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    if bool(options.type) == options.all:
        parser.error("give an event type, or --all")

    service.start()
    if options.all:
        print(json.dumps(all_schemas(), indent=1))
    else:
        sys.stdout.write(schema_text(options.type, options.key_field))


def schema_text(event_type, key_field=None):
    from edx_event_bus_kafka.internal.producer import extract_key_schema
    from openedx_events.event_bus.avro.serializer import AvroSignalSerializer
    from openedx_events.tooling import OpenEdxPublicSignal

    serializer = AvroSignalSerializer(OpenEdxPublicSignal.get_signal_by_type(event_type))
    return extract_key_schema(serializer, key_field) if key_field else serializer.schema_string()


def all_schemas():
    from openedx_events.tooling import OpenEdxPublicSignal

    schemas = {}
    for signal in sorted(OpenEdxPublicSignal.all_events(), key=lambda each: each.event_type):
        entry = schemas[signal.event_type] = {"minor_version": signal.minor_version}
        try:
            entry["schema"] = schema_text(signal.event_type)
        except Exception as error:  # pylint: disable=broad-exception-caught
            entry["error"] = str(error)
    return schemas


if __name__ == "__main__":
    sys.exit(main())
