"""The machine and libraries that a record was made on."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Machine and libraries that a record was made on.

    Values that could not be read are absent, never zero.
    """

    python: str
    platform: str
    cpu: str
    cpu_count: int
    memory_bytes: int
    libraries: dict[str, str]
    gpus: tuple[str, ...] = ()
    driver: str | None = None
    captured_at: str = ""

    def differences(self, other: Environment) -> tuple[str, ...]:
        """Return how another machine differs from this one, one phrase per thing.

        The result is empty where nothing on record differs.
        """
        found = []
        for field_name in (each.name for each in fields(self) if each.name not in ("captured_at", "libraries")):
            first, second = getattr(self, field_name), getattr(other, field_name)
            if first != second:
                found.append(f"{field_name.replace('_', ' ')}: {_text(first)} → {_text(second)}")
        for library in sorted(self.libraries.keys() | other.libraries.keys()):
            first, second = self.libraries.get(library, "absent"), other.libraries.get(library, "absent")
            if first != second:
                found.append(f"{library} {first} → {second}")
        return tuple(found)


def _text(value: object) -> str:
    return (", ".join(map(str, value)) if isinstance(value, tuple) else str(value or "")) or "none"
