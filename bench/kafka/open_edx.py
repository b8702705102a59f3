"""
Open edX's own producer and consumer (edx-event-bus-kafka), asked for the same as the peers in JavaScript: `open_edx.py <task> <options
as JSON>` prints one line of JSON. Runs with test/interop/python on its path, where the settings are.
"""

import json
import os
import subprocess
import sys
import threading
import time

import service

EVENT_TYPE = "org.openedx.content_authoring.course.catalog_info.changed.v1"
KEY_FIELD = "catalog_info.course_key"
PADDING = "A course about events " * 7
# Asking confluent-kafka for its assignment while another thread polls may hold the interpreter for good.
JOIN_SECONDS = 5


def main():
    service.start()
    service.Errors(lambda message: sys.exit(message))
    end_with(globals()[f"task_{sys.argv[1]}"](**json.loads(sys.argv[2])))


def end_with(answer):
    print(json.dumps(answer), flush=True)
    os._exit(0)


def task_publish(topic, warmSeconds, seconds, **_):
    send = sender(topic)
    send_for(warmSeconds, send)
    stop = stopwatch()
    return stop(send_for(seconds, send))


def send_for(seconds, send):
    until = time.perf_counter() + seconds
    sent = 0
    while time.perf_counter() < until:
        send(sent)
        sent += 1
    flush()
    return sent


def task_consume(topic, group, warmSeconds, seconds, **_):
    return consumed(topic, group, warmSeconds, seconds, lambda: None)


def task_slow(topic, group, warmSeconds, seconds, handlerMs, **_):
    return consumed(topic, group, warmSeconds, seconds, lambda: time.sleep(handlerMs / 1000))


def task_latency(topic, group, perSecond, seconds, **_):
    count = perSecond * seconds
    ages = []

    def receiver(catalog_info, **_):
        ages.append((time.monotonic() - float(catalog_info.name.split()[0])) * 1000)
        if len(ages) == count:
            consumer._shut_down()

    put_at_end(topic, group)
    consumer = consumer_of(topic, group, receiver)
    order = json.dumps({"topic": topic, "perSecond": perSecond, "seconds": seconds})
    producing = [sys.executable, __file__, "pace", order]

    def send_when_joined():
        time.sleep(JOIN_SECONDS)
        subprocess.run(producing, check=True, stdout=subprocess.DEVNULL)

    threading.Thread(target=send_when_joined, daemon=True).start()
    consumer.consume_indefinitely()
    ages = sorted(ages[count // 5 :])
    return {"p50": ages[len(ages) // 2], "p99": ages[int(len(ages) * 0.99)], "max": ages[-1]}


def task_pace(topic, perSecond, seconds):
    send = sender(topic)
    started = time.monotonic()
    for number in range(perSecond * seconds):
        while time.monotonic() - started < number / perSecond:
            time.sleep(0.0005)
        send(number)
    flush()


def task_idle(topic, group, seconds, **_):
    def watch():
        time.sleep(JOIN_SECONDS)
        stop = stopwatch()
        time.sleep(seconds)
        figures = stop(1)
        end_with({"percent": figures["cpuUs"] / figures["ms"] / 10})

    put_at_end(topic, group)
    threading.Thread(target=watch, daemon=True).start()
    consumer_of(topic, group, lambda **_: None).consume_indefinitely()


def sender(topic):
    from attr import evolve
    from opaque_keys.edx.keys import CourseKey
    from openedx_events.content_authoring.data import CourseCatalogData, CourseScheduleData
    from openedx_events.event_bus import get_producer
    from openedx_events.tooling import OpenEdxPublicSignal
    from datetime import datetime, timezone

    signal = OpenEdxPublicSignal.get_signal_by_type(EVENT_TYPE)
    producer = get_producer()
    course = CourseCatalogData(
        course_key=None,
        name="",
        schedule_data=CourseScheduleData(
            start=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
            pacing="instructor",
            end=datetime(2026, 7, 2, 3, 4, 5, tzinfo=timezone.utc),
            enrollment_start=datetime(2025, 11, 2, 3, 4, 5, tzinfo=timezone.utc),
            enrollment_end=None,
        ),
    )
    keys = [CourseKey.from_string(f"course-v1:edX+Bench+{number}") for number in range(1000)]

    def send(number):
        name = f"{time.monotonic():.6f} {PADDING}"
        producer.send(
            signal=signal,
            topic=topic,
            event_key_field=KEY_FIELD,
            event_data={"catalog_info": evolve(course, course_key=keys[number % 1000], name=name)},
            event_metadata=signal.generate_signal_metadata(),
        )

    return send


def flush():
    from openedx_events.event_bus import get_producer

    get_producer().prepare_for_shutdown()


def consumed(topic, group, warm_seconds, seconds, work):
    from consume import put_at_first_record

    seen = 0
    began = None
    stop = None

    def receiver(**_):
        nonlocal seen, began, stop
        work()
        seen += 1
        now = time.perf_counter()
        if began is None:
            began = now
        elif stop is None and now - began >= warm_seconds:
            stop, began, seen = stopwatch(), now, 0
        elif stop is not None and now - began >= seconds:
            # A graceful end first waits for one commit per event, which takes minutes.
            end_with(stop(seen))

    put_at_first_record(topic, group)
    consumer_of(topic, group, receiver).consume_indefinitely()


def put_at_end(topic, group):
    from confluent_kafka import Consumer, TopicPartition
    from edx_event_bus_kafka.internal.config import load_common_settings

    consumer = Consumer({**load_common_settings(), "group.id": group})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    positions = [TopicPartition(topic, number) for number in partitions]
    for position in positions:
        position.offset = consumer.get_watermark_offsets(position, timeout=30)[1]
    consumer.commit(offsets=positions, asynchronous=False)
    consumer.close()


def consumer_of(topic, group, receiver):
    from openedx_events.event_bus import make_single_consumer
    from openedx_events.tooling import OpenEdxPublicSignal

    OpenEdxPublicSignal.get_signal_by_type(EVENT_TYPE).connect(receiver, weak=False)
    return make_single_consumer(topic=topic, group_id=group)


def stopwatch():
    started = time.perf_counter()
    cpu = time.process_time()

    def stop(count):
        ms = (time.perf_counter() - started) * 1000
        return {"perSecond": count / ms * 1000, "cpuUs": (time.process_time() - cpu) / count * 1e6, "ms": ms}

    return stop


if __name__ == "__main__":
    main()
