"""Writes vectors.txt: when cron expressions are due in real time zones, by another implementation.

    pip install cronsim==2.8 && python3 vectors.py > vectors.txt

A line is `expression | zone | start | due due due`, instants in seconds since the epoch. Half of the starts lie
within two days of a change of the zone's clocks.
"""

import random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim

LINES = 4000
ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Pacific/Auckland",
    "Africa/Casablanca",
]
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()
SEED = random.Random(20260301)


def pick(low: int, high: int, names: list[str] | None = None) -> str:
    def one(value: int) -> str:
        if names and SEED.random() < 0.5:
            return names[value - low]
        return str(value)

    form = SEED.random()
    if form < 0.5:
        return one(SEED.randint(low, high))
    first = SEED.randint(low, high - 1)
    last = SEED.randint(first + 1, high)
    if form < 0.7:
        return f"{one(first)}-{one(last)}"
    if form < 0.85:
        return f"{first}-{last}/{SEED.randint(1, 5)}"
    return ",".join(one(value) for value in sorted({first, last}))


def expression() -> str:
    minute = pick(0, 59) if SEED.random() < 0.85 else SEED.choice(["*", "*/7", "*/15"])
    hour = pick(0, 6) if SEED.random() < 0.6 else SEED.choice([pick(0, 23), "*", "*/3"])
    day, month, weekday = "*", "*", "*"
    form = SEED.random()
    if form < 0.2:
        day = SEED.choice([pick(1, 28), "L"])
    elif form < 0.4:
        weekday = SEED.choice([pick(0, 6, DAYS), f"{SEED.randint(0, 6)}#{SEED.randint(1, 4)}"])
    elif form < 0.5:
        day, weekday = str(SEED.randint(1, 28)), str(SEED.randint(0, 6))
    if SEED.random() < 0.2:
        month = pick(1, 12, MONTHS)
    return " ".join([minute, hour, day, month, weekday])


def changes(zone: ZoneInfo) -> list[datetime]:
    """Days of 2024 to 2027 on which the clocks are set."""
    day, found = datetime(2024, 1, 1, tzinfo=timezone.utc), []
    while day.year < 2028:
        next_day = day + timedelta(days=1)
        if day.astimezone(zone).utcoffset() != next_day.astimezone(zone).utcoffset():
            found.append(day)
        day = next_day
    return found


def main() -> None:
    known = {name: changes(ZoneInfo(name)) for name in ZONES}
    written = 0
    while written < LINES:
        name = SEED.choice(ZONES)
        zone, text = ZoneInfo(name), expression()
        if known[name] and SEED.random() < 0.5:
            start = SEED.choice(known[name]) + timedelta(minutes=SEED.randint(-1440, 2880))
        else:
            start = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=SEED.randint(0, 2_000_000))
        due = CronSim(text, start.astimezone(zone))
        times = [int(next(due).timestamp()) for _ in range(3)]
        print(f"{text} | {name} | {int(start.timestamp())} | {' '.join(map(str, times))}")
        written += 1


if __name__ == "__main__":
    main()
