"""The least Django that the Open edX event bus runs in. Its settings come from the environment, under their own names."""

import json
import os

SECRET_KEY = "test"
INSTALLED_APPS = ["openedx_events", "edx_event_bus_kafka", "every_kind"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True

EVENT_BUS_PRODUCER = "edx_event_bus_kafka.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_kafka.KafkaEventConsumer"
EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS = os.environ.get("EVENT_BUS_KAFKA_BOOTSTRAP_SERVERS") or os.environ.get("KAFKA_BROKERS")
EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL = os.environ.get("EVENT_BUS_KAFKA_SCHEMA_REGISTRY_URL") or os.environ.get(
    "SCHEMA_REGISTRY_URL"
)
EVENT_BUS_TOPIC_PREFIX = os.environ.get("EVENT_BUS_TOPIC_PREFIX")
EVENTS_SERVICE_NAME = os.environ.get("EVENTS_SERVICE_NAME")
EVENT_BUS_PRODUCER_CONFIG = json.loads(os.environ.get("EVENT_BUS_PRODUCER_CONFIG") or "{}")

# How long the consumer's loop waits before it looks whether it is to stop.
EVENT_BUS_KAFKA_CONSUMER_POLL_TIMEOUT = 0.2

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "WARNING")},
}
