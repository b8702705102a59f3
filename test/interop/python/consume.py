"""
Runs edx-event-bus-kafka's own consumer and prints one JSON object a line:

  {"ready": true}                                                   partitions have been assigned
  {"type", "metadata", "data", "from_event_bus"}                    a signal was received; data as plain.py says
  {"error": "..."}                                                  the packages logged an error

A new group of that consumer starts at the latest record. With --from earliest a group that has no position yet is put
at the first record before it starts, so that a test need not wait for {"ready": true}.
"""

import argparse
import json
import signal as process_signal
import sys
import threading
import time

import service


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", required=True, help="without prefix")
    parser.add_argument("--group", required=True)
    parser.add_argument("--count", type=int, help="stop after as many signals; without it, run until SIGTERM")
    parser.add_argument("--from", dest="start", choices=["earliest", "latest"], default="latest")
    options = parser.parse_args()

    service.start()
    service.Errors(lambda message: write({"error": message}))
    if options.start == "earliest":
        put_at_first_record(options.topic, options.group)

    from openedx_events.event_bus import make_single_consumer

    consumer = make_single_consumer(topic=options.topic, group_id=options.group)

    # The one way to end the loop that lets it commit and leave the group; the package has it for its own tests.
    stop = consumer._shut_down  # pylint: disable=protected-access
    process_signal.signal(process_signal.SIGTERM, lambda *_: stop())
    process_signal.signal(process_signal.SIGINT, lambda *_: stop())
    receive(options.count, stop)
    threading.Thread(target=tell_when_assigned, args=(consumer.consumer,), daemon=True).start()
    consumer.consume_indefinitely()


def receive(count, stop):
    from openedx_events.tooling import OpenEdxPublicSignal
    from plain import to_plain

    received = 0

    def receiver(signal, metadata, from_event_bus, **rest):
        nonlocal received
        data = {name: to_plain(rest[name]) for name in signal.init_data}
        write(
            {
                "type": signal.event_type,
                "metadata": metadata.to_json_data(),
                "data": data,
                "from_event_bus": from_event_bus,
            }
        )
        received += 1
        if received == count:
            stop()

    for signal in OpenEdxPublicSignal.all_events():
        signal.connect(receiver, weak=False)


def tell_when_assigned(consumer):
    while not consumer.assignment():
        time.sleep(0.02)
    write({"ready": True})


def put_at_first_record(topic, group):
    from confluent_kafka import Consumer, TopicPartition
    from edx_event_bus_kafka.internal.config import get_full_topic, load_common_settings

    consumer = Consumer({**load_common_settings(), "group.id": group, "enable.auto.commit": False})
    try:
        full_topic = get_full_topic(topic)
        partitions = consumer.list_topics(full_topic, timeout=30).topics[full_topic].partitions
        positions = consumer.committed([TopicPartition(full_topic, number) for number in partitions], timeout=30)
        for position in positions:
            if position.offset < 0:
                position.offset = consumer.get_watermark_offsets(position, timeout=30)[0]
        consumer.commit(offsets=positions, asynchronous=False)
    finally:
        consumer.close()


output = threading.Lock()


def write(record):
    with output:
        print(json.dumps(record, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
