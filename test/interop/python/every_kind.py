"""An event type with a field of every kind that openedx-events can put on the bus."""

from datetime import datetime
from uuid import UUID

import attr
from ccx_keys.locator import CCXLocator
from opaque_keys.edx.keys import CourseKey, UsageKey
from opaque_keys.edx.locator import (
    LibraryCollectionLocator,
    LibraryContainerLocator,
    LibraryLocatorV2,
    LibraryUsageLocatorV2,
)
from openedx_events.tooling import OpenEdxPublicSignal


@attr.s(frozen=True)
class Person:
    """A record that is used more than once: defined at its first use, named at the others."""

    name = attr.ib(type=str)
    born = attr.ib(type=int, default=None)


@attr.s(frozen=True)
class Kinds:
    """One field of each kind."""

    course_key = attr.ib(type=CourseKey)
    a_bool = attr.ib(type=bool)
    an_int = attr.ib(type=int)
    a_float = attr.ib(type=float)
    a_str = attr.ib(type=str)
    a_datetime = attr.ib(type=datetime)
    a_uuid = attr.ib(type=UUID)
    a_usage_key = attr.ib(type=UsageKey)
    a_ccx_key = attr.ib(type=CCXLocator)
    a_library_key = attr.ib(type=LibraryLocatorV2)
    a_library_usage_key = attr.ib(type=LibraryUsageLocatorV2)
    a_library_container_key = attr.ib(type=LibraryContainerLocator)
    a_library_collection_key = attr.ib(type=LibraryCollectionLocator)
    a_person = attr.ib(type=Person)
    some_ints = attr.ib(type=list[int])
    some_people = attr.ib(type=list[Person])
    some_lists = attr.ib(type=list[list[str]])
    floats_by_name = attr.ib(type=dict[str, float])
    people_by_name = attr.ib(type=dict[str, Person])
    lists_by_name = attr.ib(type=dict[str, list[int]])
    # The schema knows bytes, but the serializer of openedx-events goes through JSON and cannot write them.
    some_bytes = attr.ib(type=bytes, default=None)
    maybe_bool = attr.ib(type=bool, default=None)
    maybe_int = attr.ib(type=int, default=None)
    maybe_float = attr.ib(type=float, default=None)
    maybe_str = attr.ib(type=str, default=None)
    maybe_datetime = attr.ib(type=datetime, default=None)
    maybe_uuid = attr.ib(type=UUID, default=None)
    maybe_person = attr.ib(type=Person, default=None)
    maybe_ints = attr.ib(type=list[int], default=None)
    maybe_strs_by_name = attr.ib(type=dict[str, str], default=None)
    # A default other than None leaves no trace in the schema.
    str_with_default = attr.ib(type=str, default="default")


EVERY_KIND = OpenEdxPublicSignal(
    event_type="org.openedx.test.kinds.every.seen.v1",
    # No list or dict here: openedx-events checks these with isinstance, which refuses list[Person].
    data={"kinds": Kinds, "count": int, "note": str, "person": Person},
    minor_version=3,
)
