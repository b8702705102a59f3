"""
Event data as JSON, both ways. What JSON or JavaScript cannot hold is an object with one name:
{"$bytes": "<hex>"}, {"$long": "<digits>"} beyond 2**53, {"$float": "NaN" | "Infinity" | "-Infinity"}.
"""

import math
from datetime import datetime

import attr


def to_plain(value):
    """A value of an event's data as JSON can hold it. Field order is kept."""
    if attr.has(type(value)):
        return {field.name: to_plain(getattr(value, field.name)) for field in attr.fields(type(value))}
    if isinstance(value, dict):
        return {name: to_plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(each) for each in value]
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else {"$long": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")}
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def from_plain(value):
    """The inverse, as far as Avro's own types go; the rest is for the deserializer of openedx-events."""
    if isinstance(value, list):
        return [from_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$bytes": text, **rest} if not rest:
            return bytes.fromhex(text)
        case {"$long": text, **rest} if not rest:
            return int(text)
        case {"$float": text, **rest} if not rest:
            return float(text)
    return {name: from_plain(each) for name, each in value.items()}
