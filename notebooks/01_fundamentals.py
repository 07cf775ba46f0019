# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Chapter 1 · Fundamentals
#
# Thirty teams run thirty services, and every team keeps its promise: up 99.9 % of the time. Your page needs all thirty.
# It is down for eleven days a year, and nobody has broken a promise.
#
# Another one. A server is busy 80 % of the time and answers in 50 ms on average. Marketing brings fifteen per cent more
# users, the server is now busy 92 % of the time, and everybody expects fifteen per cent slower pages. They get pages
# that are two and a half times as slow.
#
# Neither takes talent to foresee. It takes a line of arithmetic each, and this chapter is that arithmetic. In a design
# review, as in an interview, most people *list*: scalability, reliability, caching. The one who says "that is 259 hours a
# year, and here is what brings it down to nine" is the one who is asked to go on.
#
# In this chapter you will
#
# - turn "it must scale", "highly available" and "fast" into numbers that can be missed;
# - say why the last fifth of a machine's capacity is the dearest, and how wide the tail behind an average is;
# - estimate traffic, storage and bandwidth with honest error bars, and say which guess matters;
# - walk from requirements to a sized design, with its nines, its latency and its bill;
# - tell apart three things called consistency, and lose a confirmed write on purpose.
#
# **Time:** about 180 minutes, in parts of 10 to 25 (look for *to here*). **Before you start:** you can read Python and
# have built one web application.

# %%
import ast
import inspect
import itertools
import json
import sqlite3
import time
import zlib
from math import factorial
from pathlib import Path

import msgpack
import numpy as np
import pandas as pd

import widgets
from course import availability, capacity, queueing, scaling

pd.set_option("display.max_colwidth", None)

# %% tags=["parameters"]
seed = 1
customers = 200_000
years = 2_000

# %%
page = availability.downtime_h(availability.series([0.999] * 30))
print(f"thirty services at 99.9 %: {page:.0f} hours down a year, {page / 24:.1f} days")
quiet, busy = (queueing.mm1(utilisation * 100, 100) for utilisation in (0.8, 0.92))
print(
    f"80 % busy: {quiet.response_s * 1e3:.0f} ms on average, "
    f"92 % busy: {busy.response_s * 1e3:.0f} ms, {busy.response_s / quiet.response_s:.1f} times as long"
)

# %% [markdown] covers=["1.1"]
# ## 1.1 What is system design?
#
# Thirty modules, each of which may call each other one: that is 435 ways in which a change here can break something
# there. Put the same thirty into five groups of six, and let groups talk through one door each:


# %%
def pairs(modules):
    return modules * (modules - 1) // 2


apart = 5 * pairs(6) + pairs(5)
print(f"{pairs(30)} pairs without structure, {apart} with five groups of six")
for groups in (3, 10, 30):
    # As many groups as there are modules in each.
    grouped = groups * pairs(groups) + pairs(groups)
    print(f"{groups**2:3} modules: {pairs(groups**2):7,} pairs, {grouped:6,} in {groups} groups")

# %% [markdown]
# **System design** is choosing the parts, the doors between them and the data behind them, so that the whole does what it
# must. The four old pieces of advice are all about those 435 pairs. *Separation of concerns* puts what changes together into
# one group. *Modularity* makes a group replaceable. *Abstraction* is the door: callers know what it promises, not how.
# *Layering* gives the doors a direction, so that nothing below knows what is above.
#
# And it has a price. Each door that becomes a network call adds a millisecond and a way to fail: thirty groups behind
# thirty doors are how the page above lost its eleven days. So the craft is not more structure or less. It is knowing what
# each piece of structure **costs and buys, in numbers**, and five fields have done the sums already: probability (what
# fails, and when), queueing (what waits), networks (what is far away), databases (what is kept), algorithms (what is
# counted).
#
# *To here: 8 min.*

# %% [markdown] covers=["1.2"]
# ## 1.2 Six goals that pull at each other
#
# Scalability, reliability, availability, performance, maintainability, cost. Nobody is against any of them, which
# is why a list of them decides nothing. They become interesting where one is paid for with another.
#
# A service gets 300 requests a second, and one server can do 100 a second. Three servers would be exactly enough, so how
# many do you buy? The same four numbers for each answer:


# %%
def option(servers, offered=300, server_rate=100, server_up=0.99):
    def p99(number):
        if number * server_rate <= offered:
            return "grows without end"
        time_s = queueing.mmc(offered, server_rate, number).response_percentile(99)
        return f"{time_s * 1e3:.0f} ms"

    enough_up = availability.redundant(server_up, servers, needed=4)
    return {
        "utilisation": f"{offered / (servers * server_rate):.0%}",
        "P99": p99(servers),
        "P99, one down": p99(servers - 1),
        "hours a year with fewer than 4 up": f"{availability.downtime_h(enough_up):.3g}",
        "servers paid for each one used": f"{servers * server_rate / offered:.2f}",
    }


pd.DataFrame({f"{servers} servers": option(servers) for servers in (4, 5, 6, 8)})

# %% [markdown]
# Read it by columns. Four servers are the cheapest and are in trouble for two weeks of the year. The fifth buys more than
# all others together. The eighth buys nothing that a user would notice. (**P99** is the response time that 99 % of the
# requests stay below; each server is assumed to be up 99 % of the time, apart from the others.) No goal was maximized
# there: a line was drawn where the next server is not worth its rent. The rest of 1.2 takes the goals one at a time, each
# with its unit, its formula, and the place where the formula stops being true.

# %% [markdown] covers=["1.2.1"] errata=["E01", "E02"]
# ### 1.2.1 Scalability
#
# **Scalability** is what happens to throughput when you add resources, and to everything else when load, distance or the
# number of people grows. *Load* scalability runs out of requests a second, *geographic* scalability of the speed of
# light (1.4.1), *administrative* scalability of people who must agree: see the pairs above.
#
# You can **scale up**, to a larger machine, or **scale out**, to more of them. Up is simple: no data to distribute, no
# network between the parts, and one machine that may die, and one largest size in the catalogue. Out has no largest size
# in the catalogue. Does it have a limit?
#
# A job takes ten hours on one processor. One hour of it cannot be split. How much faster is it with ten processors?

# %%
widgets.scaling.speed_up()

# %% [markdown]
# Ten processors, and it is 5.3 times as fast. A million processors, and it stays below ten, because the hour that cannot
# be split is still an hour. That is **Amdahl's law**: with a serial share $S$ the time on $N$ processors is what cannot be
# split plus what can,
#
# $$ \text{speed-up}(N) = \frac{1}{S + (1-S)/N} \;<\; \frac1S $$
#
# and it is a law about a *fixed* job. If you use a larger machine to do a larger job in the same time, which is what most
# people with a larger machine do, the serial hour stays and the rest grows. With $s$ the serial share *as measured on the
# large machine*, that is **Gustafson's law**, a straight line:
#
# $$ \text{speed-up}(N) = N - s\,(N-1) $$

# %%
processors = np.array([1, 10, 100, 1_000_000])
pd.DataFrame(
    {
        "fixed job (Amdahl)": scaling.amdahl(0.1, processors),
        "growing job (Gustafson)": scaling.gustafson(0.1, processors),
    },
    index=pd.Index(processors, name="processors").map("{:,}".format),
).map("{:,.4g}".format)

# %% [markdown] errata=["E01"]
# > **The guide says** that adding machines has no hardware limits. Amdahl's curve levels off, and real systems do worse:
# > their curve *comes down again*. Move the coherency above zero. Servers that share data must agree on it, each with each,
# > and pairs grow as the square. Neil Gunther's **universal scalability law** (*Guerrilla Capacity Planning*, 2007) has one
# > term for each, waiting for one another (contention $\sigma$) and agreeing with one another (coherency $\kappa$):
# >
# > $$ \text{speed-up}(N) = \frac{N}{1 + \sigma (N-1) + \kappa N (N-1)}, \qquad N_\text{peak} = \sqrt{\frac{1-\sigma}{\kappa}} $$

# %% tags=["conclusion"]
law = scaling.usl(contention=0.03, coherency=0.0005)
best, many = law.speedup([round(law.peak_n), 200])
print(
    f"sigma = 0.03, kappa = 0.0005: best with {law.peak_n:.0f} servers ({best:.1f} times one), "
    f"with 200 servers {many:.1f} times"
)
around = law.speedup(np.arange(1, 400))
assert np.argmax(around) + 1 == round(law.peak_n)
assert many < best

# %% [markdown] errata=["E02"]
# > **The guide names** Gustafson's law and the Karp–Flatt metric and gives no formula for either. The first stands above.
# > The second turns the question round: you *measured* a speed-up of $\psi$ on $N$ processors, so what is the serial share?
# >
# > $$ e = \frac{1/\psi - 1/N}{1 - 1/N} $$
# >
# > Measure it at several $N$. If $e$ stays the same, the job has a serial part. If it *grows*, what grows is overhead, and
# > more machines will not help (Karp and Flatt, CACM 1990).

# %% tags=["conclusion"]
counts = np.array([2, 4, 8, 16, 32, 64])
serial_job, chatty_job = (
    np.array([scaling.karp_flatt(psi, n) for psi, n in zip(speeds, counts, strict=True)])
    for speeds in (scaling.amdahl(0.1, counts), law.speedup(counts))
)
assert np.allclose(serial_job, 0.1)
assert (np.diff(chatty_job) > 0).all()
pd.DataFrame(
    {"a serial tenth": serial_job, "servers that must agree": chatty_job},
    index=pd.Index(counts, name="processors"),
).T.round(3)

# %% [markdown]
# The formula breaks where the work is not one job. Independent requests from independent users have no serial part by
# themselves; *you* put it there: the one database, the one lock, the one counter. Finding it is what chapter 3 is about.
#
# *To here: 25 min.*

# %% [markdown] covers=["1.2.2"] errata=["E03", "E05", "E06"]
# ### 1.2.2 Reliability
#
# Machine A fails every hundred hours and is back after one. Machine B fails once in ten thousand hours, a bit more than a
# year, and then takes a hundred hours to repair. Which one is up more of the time? Which one do you want in an ambulance?

# %%
ambulance = {}
for name, mttf, mttr in (("A", 100, 1), ("B", 10_000, 100)):
    ambulance[name] = {
        "up in the long run": f"{availability.availability(mttf, mttr):.2%}",
        "survives a day": f"{availability.reliability(mttf, 24):.1%}",
        "survives a week": f"{availability.reliability(mttf, 168):.1%}",
    }
pd.DataFrame(ambulance).T

# %% [markdown] errata=["E05"]
# They are up equally often, to the last digit. **Availability** is a share of time: uptime over all time. **Reliability** is
# the probability of *no failure at all* for a given time, $R(t) = e^{-t/\text{MTTF}}$ where failures come at a constant
# rate. Availability settles down; reliability falls to zero for everything, in the end.
#
# > **The guide gives** the availability formula as the model of reliability, and later one formula for both. The two answer
# > different questions (Avižienis, Laprie, Randell and Landwehr, IEEE TDSC 2004). A web shop asks for availability: a lost
# > minute is a lost minute. A batch job of eight hours that starts again after each failure asks for reliability, and on
# > machine A it needs more than one attempt. Let both machines run, and count the days that were begun in working order
# > and had no failure:


# %% tags=["conclusion"]
def days_without_failure(mttf_h, mttr_h):
    run = availability.simulate(mttf_h, mttr_h, years=years, seed=seed)
    begin, end = run.system.begin_h, run.system.end_h
    morning = np.arange(0, years * 8_760, 24.0)
    before = np.searchsorted(begin, morning, "right")
    up = (before == 0) | (end[before - 1] <= morning)
    failed = np.searchsorted(begin, morning + 24, "right") > before
    return run.availability, up.sum(), 1 - failed[up].mean()


for name, mttf, mttr in (("A", 100, 1), ("B", 10_000, 100)):
    share, days, survived = days_without_failure(mttf, mttr)
    theory = availability.reliability(mttf, 24)
    print(
        f"{name}: up {share:.1%} of the time, "
        f"{survived:.2%} of the days without failure (theory {theory:.2%})"
    )
    # Failures come at a constant rate, so days are independent: five standard errors.
    assert abs(survived - theory) < 5 * np.sqrt(theory * (1 - theory) / days)

# %% [markdown] errata=["E03"]
# > **The guide defines** MTBF once as the time *between failures* and once as the average *uptime*, and puts both into one
# > formula. They differ by the repair. Call the mean time from a repair to the next failure **MTTF**, the mean time of a
# > repair **MTTR**, and the time from one failure to the next **MTBF** = MTTF + MTTR. Then
# >
# > $$ A = \frac{\text{MTTF}}{\text{MTTF}+\text{MTTR}} = \frac{\text{MTTF}}{\text{MTBF}} $$
# >
# > Many texts say MTBF for the first of the three. That is harmless if they do it throughout, and nearly harmless where
# > repairs are short:

# %%
for cycle_h, repair_h in ((100, 1), (10, 2)):
    by_cycle = availability.availability_from_mtbf(cycle_h, repair_h)
    mixed = availability.availability(cycle_h, repair_h)
    print(
        f"a failure every {cycle_h} h, {repair_h} h to repair: up {by_cycle:.2%}; "
        f"with the wrong time in the formula {mixed:.2%}"
    )

# %% [markdown] errata=["E06"]
# ### How things fail
#
# > **The guide lists** transient, intermittent and permanent *faults*, and beside them crash, omission and Byzantine
# > failure, as two kinds of fault. They are cause and effect. A **fault** (a flipped bit, a bug) may lead to an **error**
# > (a wrong state inside), which may lead to a **failure** (wrong behaviour that others see). Transient, intermittent and
# > permanent say how long a *fault* lasts. What others see is a *failure mode*, and three that matter are missing:
# >
# > | failure mode | what others see |
# > |---|---|
# > | fail-stop | it halts, and the others can tell |
# > | crash | it halts, and nobody can tell halted from slow |
# > | crash-recovery | it halts, comes back, and has forgotten what was not on disk |
# > | omission | some messages are not sent or not received |
# > | timing | the right answer, too late |
# > | Byzantine | anything at all, lies included |
# >
# > (Avižienis and others, 2004; Cachin, Guerraoui and Rodrigues, *Introduction to Reliable and Secure Distributed
# > Programming*.) Your protocol tolerates the modes it was designed for. One that survives crashes may not survive a
# > machine that comes back with an old memory.
#
# The chain is good news: between fault and failure you get a chance. **Detect** the error, by a *checksum*, a
# *heartbeat* or a *timeout*, and **switch** to something redundant that was running all along (*active*) or is started now
# (*passive*). Every detector is a bet. A machine sends a heartbeat each second, and the network loses one per cent of
# them. After how many missing ones in a row do you declare it dead?


# %% tags=["conclusion"]
def false_alarms_per_day(missing, loss=0.01, beats=86_400):
    # A run of misses begins after a beat that arrived, and then goes on long enough.
    return beats * (1 - loss) * loss**missing


lost = np.random.default_rng(seed).random(customers) < 0.01
for missing in (1, 2, 3, 4):
    expected = false_alarms_per_day(missing)
    run = np.convolve(lost, np.ones(missing), "valid") == missing
    alarms = (run[1:] & ~lost[: -missing]).sum()
    # Alarms are rare and apart, so nearly Poisson: five standard deviations, and one.
    in_theory = expected * lost.size / 86_400
    assert abs(alarms - in_theory) < 5 * np.sqrt(in_theory) + 1
    print(
        f"{missing} missing: up to {missing} s until a death is noticed, "
        f"{expected * 1_000:9,.1f} false alarms a day among 1,000 machines"
    )

# %% [markdown]
# One more second of patience is a hundred times fewer false alarms, if losses are independent. (They are not: networks
# fail in bursts, so real alarms come in bursts too.) Failing over because of a false alarm is an outage you made
# yourself.
#
# *To here: 40 min.*

# %% [markdown] covers=["1.2.3"]
# ### 1.2.3 Availability
#
# Ninety-nine point nine sounds like a school mark. In hours, for a year of 365 days:

# %%
for share in (0.99, 0.999, 0.9999, 0.99999):
    year, month = (availability.downtime_h(share, hours) for hours in (8_760, 720))
    print(
        f"{share:.3%}: {year:6.2f} h = {year * 60:7,.1f} min a year, "
        f"{month * 60:6.1f} min in 30 days"
    )

# %% [markdown]
# A service fails once a month and is back after half an hour. How many nines is that? And which is worth more to you:
# failures half as often, or repairs twice as quick?

# %%
widgets.availability.nines()

# %% [markdown]
# With 720 h to a failure and 30 minutes to repair it is up 99.93 % of the time: six hours a year. The two levers are the
# same lever: only the *ratio* MTTR/MTTF counts. But one is usually cheaper. Rolling back at the press of a button is a
# week of work; writing software that fails half as often is a career.
#
# Move the seed. The formula is a long-run average, and nobody is paid for the long run. Two thousand years of the same
# service, one by one:

# %% tags=["conclusion"]
service = availability.simulate(720, 0.5, years=years, seed=seed)
mean_h = availability.downtime_h(service.expected_availability)
low, high = np.percentile(service.downtime_h, [10, 90])
broken = (service.downtime_h > availability.downtime_h(0.999)).mean()
print(
    f"mean {service.downtime_h.mean():.2f} h down a year (theory {mean_h:.2f}), "
    f"one year in ten below {low:.1f} h, one above {high:.1f} h"
)
print(f"a promise of 99.9 % is broken in {broken:.0%} of the years")
# Alternating renewals: the variance of the downtime grows by 2 F^2 R^2 / (F + R)^3 an hour.
spread_h = np.sqrt(2 * 720**2 * 0.5**2 / 720.5**3 * 8_760)
assert abs(service.downtime_h.mean() - mean_h) < 5 * spread_h / np.sqrt(years)
# Of 30,000 simulated years 14.0 % broke it; years are independent.
assert abs(broken - 0.14) < 5 * np.sqrt(0.14 * 0.86 / years)

# %% [markdown]
# On average you keep the promise with room to spare. In one year of seven you break it. That is why a promise to a
# customer (the **SLA**) is made looser than the objective you hold yourselves to (the **SLO**), and why the window belongs
# to the number: in a window of 30 days three nines are 43 minutes, which is *one* bad deployment.
#
# An outage log gives the same quantity, uptime over uptime and downtime, provided that what overlaps counts once:

# %%
outages = [(10.0, 10.5), (10.2, 11.0), (300.0, 300.25)]  # hours: the first two overlap
measured = availability.observed_availability(outages, 720)
print(
    f"{(1 - measured) * 720 * 60:.0f} minutes down in 30 days: "
    f"{measured:.3%}, {availability.nines(measured):.1f} nines"
)

# %% [markdown]
# It breaks where time is the wrong thing to count. An hour at four in the morning and an hour at eight in the evening
# weigh the same above, and not for your users; the share of *requests* that succeeded is often the better measure. How to
# get more nines than one machine has, by redundancy, is in 1.4.3.
#
# *To here: 52 min.*

# %% [markdown] covers=["1.2.4"] errata=["E07", "E08"]
# ### 1.2.4 Performance
#
# Five words, each with its own quantity. A request **arrives**, **waits** in a queue for $W_q$, is **served** for $S$, and
# leaves. What the client sees is the **response time** $R = W_q + S$, plus the network. How many leave each second is the
# **throughput** $X$. The share of the time that a server is busy is its **utilisation** $\rho$.
#
# > **The guide describes** latency and response time alike: both hold the queue, both are "the time of a request". Keep two
# > words for two things. *Response time* is what the client sees, all included; *latency* is best kept for the part in
# > which the request waits to be handled, or for a named part ("network latency") (Kleppmann, *Designing Data-Intensive
# > Applications*, chapter 1). This chapter says response time for the whole, and names the part otherwise.
#
# And the percentiles of response times are easy to measure wrongly. A server answers in a millisecond, and stands still
# for one second in the middle of a ten-second test. One load generator sends a request every 10 ms, come what may. The
# other waits for each answer before it sends the next, as a loop in a script does:


# %% tags=["conclusion"]
def load_test(wait_for_answer):
    """Response times (ms) when the server takes 1 ms and stands still from 5 to 6 s."""
    times, due, free = [], 0, 0
    while due < 10_000:
        start = max(due, free)
        start = 6_000 if 5_000 <= start < 6_000 else start
        free = start + 1
        times.append(free - due)
        due = max(due + 10, free) if wait_for_answer else due + 10
    return np.array(times)


for name, closed in (("one every 10 ms", False), ("waits for the answer", True)):
    times = load_test(closed)
    print(
        f"{name:20}: {times.size:5,} requests, P50 {np.percentile(times, 50):.0f} ms, "
        f"P99 {np.percentile(times, 99):.0f} ms, mean {times.mean():.1f} ms"
    )
assert np.percentile(load_test(True), 99) == 1
assert np.percentile(load_test(False), 99) > 900

# %% [markdown]
# > Half of the story is missing from the second report, and it is the half your users lived through: the script politely
# > stopped asking while the server was down. Gil Tene calls this **coordinated omission** (*How NOT to Measure Latency*).
# > Percentiles need arrivals that do not wait.
#
# > **The guide says** that transactions per second count the *successful* ones. The unit counts *completed* ones, whatever
# > came of them, and success is a number of its own. It has to be, because failing is quick: a service that turns half
# > of its requests away in a millisecond reports a splendid throughput. Report both.

# %% [markdown] errata=["E10"]
# ### How many are in there?
#
# Eighty requests arrive each second, and each spends 50 ms in your service. How many are inside at any moment? And does
# the answer change if the times are wildly unequal?

# %%
widgets.queueing.littles_law()

# %% [markdown]
# Four, whatever the law of the service times: the area under the curve is the same whether you add it up by the moment or
# by the customer. **Little's law** (Operations Research, 1961) holds for every distribution, every order of service and
# every box you draw, as long as what goes in comes out again:
#
# $$ L = \lambda W $$
#
# > **The guide calls** $W$ the time in the system in one place, and the *wait* time in another. Both are laws, for two
# > different boxes. Around the whole system: $L = \lambda W$. Around the queue alone: $L_q = \lambda W_q$. With 8 arrivals
# > a second and a server that can do 10:

# %% tags=["conclusion"]
eight = queueing.mm1(8, 10)
print(
    f"in the system: 8 per s × {eight.response_s:.1f} s = {eight.in_system:.1f}; "
    f"waiting: 8 per s × {eight.wait_s:.1f} s = {eight.waiting:.1f}"
)
log = queueing.event_log(queueing.draw(customers, seed), 8, 10)
check = log.littles_law()
print(
    f"in a simulation: L = {check.in_system:.3f}, "
    f"lambda × W = {check.rate:.3f} × {check.response_s:.4f} = {check.rate * check.response_s:.3f}"
)
# Not within some error: the two are the same area, added up in two ways.
assert np.isclose(check.in_system, check.rate * check.response_s)

# %% [markdown]
# You will use it all day. A pool of 50 connections, each held for 20 ms, carries $50/0.02 = 2{,}500$ requests a second and
# not one more. It breaks only where the box is not stable: if more comes in than goes out, $L$ has no average.
#
# *To here: 65 min.*

# %% [markdown] errata=["E09"]
# ### The hockey stick
#
# Now the second riddle of the first page. One server, requests at random moments, 10 ms of work each on average. At which
# utilisation does the response time double? At which is it ten times as long?

# %%
widgets.queueing.hockey_stick()

# %% [markdown]
# It doubles at half load and is tenfold at 90 %. Nothing is broken there, and nobody is at fault: requests that come at
# random come in bunches, and a busy server has no idle minute to catch up in. For one server with random arrivals and
# exponential service times, **M/M/1**:
#
# $$ R = \frac{S}{1-\rho}, \qquad P(R > t) = e^{-t/R} \quad\Rightarrow\quad \text{P99} = 4.6\,R $$
#
# It is the most useful formula of this chapter, and the one most often used where it is not true. If the service times have
# another spread, with $c_s^2$ their variance over their squared mean, **M/G/1** has the wait (Pollaczek and Khinchine)
#
# $$ W_q = \frac{\rho}{1-\rho}\cdot\frac{1+c_s^2}{2}\cdot S $$
#
# and if $c$ servers share one queue, **M/M/c**, a request waits only when all are busy (Erlang's C) and then for
# $S/(c\,(1-\rho))$:

# %% tags=["conclusion"]
same_load = {
    "M/M/1": queueing.mm1(8, 10),
    "M/D/1: all requests alike": queueing.md1(8, 10),
    "M/G/1: squared variation 10": queueing.mg1(8, 10, 10),
    "M/M/10: ten servers, one queue": queueing.mmc(80, 10, 10),
}
for name, queue in same_load.items():
    print(f"80 % busy, S = 100 ms, {name:31} R = {queue.response_s * 1e3:5.0f} ms")
run = queueing.simulate(8, 10, customers=customers, warmup=customers // 10, seed=seed)
# The variance of the mean of n waits in M/M/1 (Daley 1968), in squared service times.
variance = 0.8 * (2 + 5 * 0.8 - 4 * 0.8**2 + 0.8**3) / (1 - 0.8) ** 4 / customers
tolerance_s = 5 * np.sqrt(variance) / 10
assert abs(run.wait_s - eight.wait_s) < tolerance_s
print(
    f"simulated M/M/1: R = {run.response_s * 1e3:.0f} ms, "
    f"P99 = {run.response_percentile(99) * 1e3:,.0f} ms "
    f"(theory {eight.response_percentile(99) * 1e3:,.0f} ms)"
)

# %% [markdown]
# The four differ by a factor of nineteen at the same utilisation. So "keep it below 70 %" is not a law. It is a
# habit that suits one server with unequal requests, wastes money with a pool of fifty, and is far too bold where one
# request in a thousand is a report.
#
# > **The guide says** that M/M/1 has *exponential arrivals*. It is the **gaps between** arrivals that are exponential. The
# > number of arrivals in a second then has a Poisson distribution, with a variance equal to its mean (Kleinrock, *Queueing
# > Systems*, volume 1). The two M's of Kendall's notation stand for "memoryless": exponential gaps, exponential services.

# %% tags=["conclusion"]
draws = queueing.draw(customers, seed)
arrive_s = np.cumsum(draws.gaps) / 100
per_second = np.bincount(arrive_s.astype(int))[:-1]
ratio = per_second.var() / per_second.mean()
print(
    f"gaps: mean {draws.gaps.mean() * 10:.2f} ms, standard deviation {draws.gaps.std() * 10:.2f} ms"
)
print(
    f"arrivals a second: mean {per_second.mean():.1f}, variance {per_second.var():.1f}"
)
# The ratio of variance and mean of n Poisson numbers scatters by sqrt(2 / n).
assert abs(ratio - 1) < 5 * np.sqrt(2 / per_second.size)

# %% [markdown]
# ### The tail
#
# The mean is what nobody experiences. Ask instead which response time half of the requests stay below (**P50**), 95 %
# (**P95**), 99 % (**P99**). With a mean of 50 ms: where do you expect the P99?

# %%
widgets.queueing.response_times()

# %% [markdown]
# With exponential times the P99 is 4.6 times the mean, and with heavier tails the factor grows while the median hardly
# moves. Two rules follow. Percentiles cannot be averaged: the P99 of two servers is not the mean of their P99s, because the
# slow requests of the slow one are most of the slowest of both. And to quote one you need the requests: a P99 of a hundred
# requests is *one* request.

# %% tags=["conclusion"]
fast = queueing.simulate(50, 100, customers=customers, seed=seed)
slow = queueing.simulate(90, 100, customers=customers, seed=seed + 1)
t = np.linspace(0, 2, 20_001)
# Both servers get the same number of requests.
both = t[np.searchsorted(-(fast.response_tail(t) + slow.response_tail(t)) / 2, -0.01)]
p99s = [run.response_percentile(99) for run in (fast, slow)]
print(
    f"P99 of the fast server {p99s[0] * 1e3:.0f} ms, of the slow one {p99s[1] * 1e3:.0f} ms: "
    f"mean {np.mean(p99s) * 1e3:.0f} ms, P99 of all requests {both * 1e3:.0f} ms"
)
# By theory 276 ms and 393 ms: far more apart than any run of this size wanders.
assert both > 1.1 * np.mean(p99s)

# %% [markdown]
# The models break, in order of how often it bites: arrivals are burstier than random (retries, cron jobs, page loads of
# thirty requests); the server gets *slower* under load; clients give up and ask again; the queue is finite, and drops. All
# four make the picture worse, none makes it better.
#
# *To here: 80 min.*

# %% [markdown] covers=["1.2.5"]
# ### 1.2.5 Maintainability
#
# Readable code, tests, documentation: yes. But is there a number? Here is one that architects of large systems have
# measured for decades. Take the modules and who imports whom. If you change a module, which others *can* be affected,
# directly or through somebody? The mean share is the **propagation cost** (MacCormack, Rusnak and Baldwin, Management
# Science 2006, who compared Linux and Mozilla with it).
#
# A small shop, as source code. `orders` sends mail, and mail and its templates import `orders`, to know how an order is
# printed:

# %%
shop = {
    "web": "import orders, users",
    "orders": "import payment, stock, mail, users",
    "payment": "import users, config",
    "stock": "import config",
    "mail": "import orders, templates",
    "templates": "import orders",
    "users": "import config",
    "config": "",
}
# The same shop; mail and templates get what they print as an argument.
mended = shop | {"mail": "import templates", "templates": ""}


def imports(modules):
    """Which of the modules each one imports: the graph, from the syntax trees."""
    graph = {}
    for name, source in modules.items():
        found = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[-1] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {(node.module or "").split(".")[-1]}
                found |= {alias.name for alias in node.names}
        graph[name] = found & modules.keys() - {name}
    return graph


def affected(graph):
    """For each module, those that a change in it can reach, itself included."""
    uses = {name: {name} for name in graph}
    for _ in graph:
        for name, found in graph.items():
            uses[name] = uses[name].union(*(uses[other] for other in found))
    return {name: {other for other in graph if name in uses[other]} for name in graph}


def propagation_cost(graph):
    return sum(map(len, affected(graph).values())) / len(graph) ** 2


for name, version in (("with the cycle", shop), ("without", mended)):
    graph = imports(version)
    print(
        f"{name:15}: propagation cost {propagation_cost(graph):.0%}; "
        f"a change of orders reaches {', '.join(sorted(affected(graph)['orders']))}"
    )

# %% [markdown]
# One import in the wrong direction makes one lump of three modules: whoever touches one has touched all. Below is the same measure
# for three packages of your own Python. (Your numbers depend on its version.)


# %% tags=["nbval-ignore-output"]
def package(module):
    folder = Path(module.__file__).parent
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.py"))}


import asyncio  # noqa: E402
import email  # noqa: E402

for module in (json, email, asyncio):
    graph = imports(package(module))
    print(
        f"{module.__name__:8} {len(graph):3} modules, propagation cost {propagation_cost(graph):.0%}"
    )

# %% [markdown]
# It says what *can* break, not what will, and it knows nothing of the coupling that no import shows: two services that
# share a table, or a field that everybody parses. In a distributed system those are the ones to draw.

# %% [markdown] covers=["1.2.6"]
# ### 1.2.6 Cost-effectiveness
#
# A server costs the same whether it works or not, so the cost of a request is the rent over what you dare to let it do:
#
# $$ \text{cost per request} = \frac{\text{rent per hour}}{3{,}600\; \mu\, \rho} $$
#
# Doubling the utilisation halves the bill, and the hockey stick says what else it does. But look at *which* utilisation
# you can afford. Say a server costs 0.10 an hour, takes 10 ms of work a request, and the P99 must stay at 100 ms. How busy may
# one server be? And a pool of 64, fed from one queue?


# %%
def highest_utilisation(servers, p99_s=0.1, service_rate=100):
    """The utilisation at which the P99 of M/M/c reaches a target, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        queue = queueing.mmc(middle * servers * service_rate, service_rate, servers)
        low, high = (
            (middle, high) if queue.response_percentile(99) <= p99_s else (low, middle)
        )
    return low


bill = {}
for servers in (1, 2, 4, 16, 64):
    rho = highest_utilisation(servers)
    bill[servers] = {
        "busy at most": f"{rho:.0%}",
        "requests/s": f"{rho * servers * 100:,.0f}",
        "cost of a million requests": f"{0.10 / 3_600 / (100 * rho) * 1e6:.2f}",
    }
pd.DataFrame.from_dict(bill, orient="index").rename_axis("servers")

# %% [markdown]
# That is why large systems are cheap: not because the machines are, but because a large pool may be run nearly full (with what a
# burst or a failed server needs on top).
#
# And the largest cost is not on the invoice of any cloud. **Infrastructure** is what you rent,
# **operations** is who gets up at night, **development** is who builds, and **opportunity** is what they did not build
# meanwhile. Compare them in one unit before you optimize:

# %%
week = 40 * 60  # hours of an engineer at 60 an hour, say
for servers in (5, 50, 500):
    saved = 0.3 * servers * 0.10 * 24 * 365
    print(
        f"{servers:3} servers: a week of work that saves 30 % of them is paid back "
        f"in {week / saved * 12:5.1f} months"
    )

# %% [markdown]
# With five servers that week was a bad buy, and with five hundred the best of the year. The rents and wages here are
# assumptions; put yours in. What carries over is the habit of dividing.
#
# *To here: 92 min.*
