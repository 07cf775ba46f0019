# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] errata=["E55"]
# # Chapter 3 · Scalability
#
# A service runs on 44 servers. Traffic is expected to double, so somebody doubles the fleet. The bill doubles too, and
# the service now carries 13 % *less* than before. Nothing is broken, no server stands out, the load is spread evenly. The
# 44 servers were the most this design could use, and nobody had measured it.
#
# In this chapter you will
#
# - find out how many servers a design can use, from a load test;
# - compute what a bigger machine buys that several small ones do not, and the other way round;
# - see why four database nodes do not give four times the reads;
# - move the rows of a real sharded database, and lose none;
# - say when a CDN makes your users slower.
#
# **Time:** about 95 minutes in parts of 10 to 20 (look for *to here*), then questions and exercises. **Before you start:**
# you can read Python. Chapter 1 explains queues, utilisation and percentiles (P95: 95 % of the requests are faster).
#
# > **A note on the guide.** Its third chapter repeats most of its second in fewer words. This chapter keeps the guide's
# > order and its topics, and adds measurements.

# %%
import base64
import hashlib
import hmac
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pandas as pd
from fastapi import FastAPI, HTTPException, Request, Response

import widgets
from course import (
    availability,
    edge_map,
    queueing,
    replicas,
    resharding,
    row_width,
    scaling,
    sharding,
    workloads,
)

pd.set_option("display.max_colwidth", None)

# %% tags=["parameters"]
seed = 1
keys = 100_000

# %% [markdown] covers=["3.1"]
# ## 3.1 Horizontal scaling
#
# **Scaling out** means that more machines share the work, behind a load balancer. It is the first answer most engineers
# give, for good reasons: machines are cheap in small sizes, one can fail without taking the service with it, and you can
# add one on a Tuesday afternoon. The question is what the next one adds.
#
# Four servers carry a service, and you may add as many as you like. What is the most they can carry?

# %%
widgets.scaling.add_servers()

# %% [markdown]
# Two things eat the gain. Servers wait for what only one can do at a time: a lock, a primary database, a hot row of a
# table. That is **contention**, σ, the share of the work that is done one after the other. And servers spend time on each
# other: caches that invalidate one another, members that send every other one a heartbeat. That is **coherency**, κ: what
# each server spends on every *other* one, $N(N-1)$ times in all. Neil Gunther's **universal scalability law** has both:
#
# $$ X(N) = \frac{\gamma N}{1 + \sigma (N-1) + \kappa N (N-1)} $$
#
# Contention alone flattens the curve, towards $\gamma/\sigma$: that is Amdahl's law of chapter 1. Coherency bends it
# down. The denominator grows with $N^2$ and the numerator with $N$, so there is a best number of servers, and setting the
# derivative to zero finds it:
#
# $$ N^* = \sqrt{\frac{1-\sigma}{\kappa}} $$

# %% tags=["conclusion"]
law = scaling.usl(contention=0.03, coherency=0.0005)
print(f"best with {law.peak_n:.1f} servers: {law.peak_throughput:.1f} times one server")
servers = np.array([1, 4, 16, 44, 88, 200])
speedup = law.speedup(servers)
assert speedup[servers == 88] < speedup[servers == 44]
pd.DataFrame(
    {
        "servers": servers,
        "throughput of one": speedup.round(2),
        "of a server, used": [f"{share:.0%}" for share in speedup / servers],
    }
)

# %% [markdown]
# > **The guide says** that scaling out has no hardware limit. You can always buy the machine, true. But with 3 % of
# > contention, and each server spending 0.05 % on every other one, the 45th machine makes the service carry less. This is
# > what the opening story ran into: from 44 to 88 servers, 13 % less (Gunther, *Guerrilla Capacity Planning*, 2007). And
# > what is spread over machines has to be changed on several of them at once: a transaction across servers is chapter 7's
# > subject, and one more thing that they wait for.

# %% [markdown]
# ### Measure it
#
# The law is a claim about your program, so test it on one. Each thread below waits 4 ms (a call to something far away,
# which threads do side by side) and then holds a lock for 0.5 ms. In the second experiment the one who holds the lock
# also spends 20 µs for every *other* thread, as if it had to tell each of them.


# %%
def throughput(threads, tell_s, run_s=0.2):
    """Jobs per second of so many threads that share one lock."""
    lock, jobs = threading.Lock(), [0] * threads
    start = time.perf_counter()

    def work(me):
        while time.perf_counter() < start + run_s:
            time.sleep(0.004)
            with lock:
                busy_until = time.perf_counter() + 0.0005 + tell_s * (threads - 1)
                while time.perf_counter() < busy_until:
                    pass
            jobs[me] += 1

    workers = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(jobs) / (time.perf_counter() - start)


# %% tags=["nbval-ignore-output"]
threads = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
measured = {
    name: [max(throughput(n, tell_s) for _ in range(3)) for n in threads]
    for name, tell_s in (("one lock", 0), ("one lock, and tell everybody", 20e-6))
}
for name, jobs in measured.items():
    law = scaling.fit_usl(threads, jobs).law
    print(
        f"{name}: σ = {law.contention:.3f}, κ = {law.coherency:.4f}, "
        f"most jobs with about {law.peak_n:.0f} threads"
    )
pd.DataFrame(measured, index=pd.Index(threads, name="threads")).round()

# %% [markdown]
# The first column rises and goes flat just below 2,000 jobs a second: the lock is held for half a millisecond, and no
# number of threads makes more of a second. The second column rises and *falls*. You have seen this curve in production if
# you ever raised a thread pool "to be safe". (On a machine that is busy with other things the columns are ragged, though
# the best of three is taken.)
#
# The fit is a description, not a diagnosis. A lock gives a sharp corner and the law a round one. So on the first column it
# invents some coherency and predicts a fall that never comes, and on the second it may call everything coherency. Use it
# to say how far you can go, not why. And measure up to where the curve bends. Here are 200 load tests each of a service
# whose best number is 44, with 2 % of noise:

# %% tags=["conclusion"]
truth, rng = scaling.usl(0.03, 0.0005), np.random.default_rng(seed)
spread = {}
for most in (8, 16, 32):
    points = np.unique(np.geomspace(1, most, 8).round())
    best = []
    for _ in range(200):
        noise = 1 + rng.normal(0, 0.02, points.size)
        best.append(scaling.fit_usl(points, truth.throughput(points) * noise).law.peak_n)
    spread[most] = np.percentile(np.minimum(best, 999), (5, 95))
    print(
        f"measured up to {most:2} servers: nine fits in ten say {spread[most][0]:.0f} to "
        + (f"{spread[most][1]:.0f}" if spread[most][1] < 999 else "any number")
    )
assert 20 < spread[32][0] and spread[32][1] < 120 and spread[8][1] == 999

# %% [markdown]
# Measured up to eight servers, the law tells you next to nothing. Measured up to 32 it gives a usable answer, before you
# buy the 45th.

# %% [markdown]
# *To here: 20 min.*

# %% [markdown] covers=["3.2"]
# ## 3.2 Vertical scaling
#
# **Scaling up** means a bigger machine: nothing to distribute, no network between the halves of your program, one place
# to look when it is slow. People call it the unambitious way. Ask instead: one server that is eight times as fast, or
# eight ordinary ones behind a perfect balancer? Same capacity, same load.

# %% tags=["conclusion"]
requests_per_s, rows = 10.0, []
for utilisation in (0.1, 0.5, 0.8, 0.95):
    load = utilisation * 8 * requests_per_s
    big = queueing.mm1(load, 8 * requests_per_s)
    small = queueing.mmc(load, requests_per_s, 8)
    rows.append((f"{utilisation:.0%}", big.response_s * 1e3, small.response_s * 1e3))
    assert big.response_s < small.response_s
up_or_out = pd.DataFrame(
    rows, columns=["utilisation", "one fast server (ms)", "eight servers (ms)"]
).round(1)
up_or_out

# %% [markdown]
# At every load in the table the one fast machine answers sooner, and at low load by nearly the full factor of eight: eight
# servers cannot make one request shorter, they can only keep it from waiting. So the guide's "lower latency" has a reason,
# and two conditions. Your code must be able to use the fast machine: one with eight *cores* is eight servers, not one. And
# the requests must be alike. Where a few are very long, seven of eight servers still answer while one is stuck:

# %% tags=["conclusion"]
# A squared coefficient of variation of 20: most requests are short, a few are very long.
very_unlike = {"service": queueing.hyper_exponential(20)}
big = queueing.closed_form(0.5 * 80, 80, **very_unlike)
small = queueing.closed_form(0.5 * 80, 10, 8, **very_unlike)
print(
    f"half busy, very unlike requests: {big.response_s * 1e3:.0f} ms on one fast server, "
    f"{small.response_s * 1e3:.0f} ms on eight (approximately)"
)
assert small.response_s < big.response_s

# %% [markdown]
# And there is the price. Two small machines are rarely dearer than one of twice the size; the largest sizes are. No law
# says so, only the price list of your provider.
#
# What the big machine cannot buy is the second one. If a server is up 99.9 % of the time, and the service needs any one
# of two:

# %%
one, two = 0.999, availability.redundant(0.999, 2, common_cause=0.05)
for name, up in (("one machine", one), ("one of two, β = 5 %", two)):
    print(
        f"{name}: {up:.5f} available, {availability.downtime_h(up) * 60:5.0f} minutes a year"
    )

# %% [markdown]
# (β is the share of failures that hit both at once, a bad deployment for example; chapter 1 explains it.) The two
# directions answer different questions. Scale **up** while the largest machine still has room: it is less work. Scale
# **out** when you need to survive a machine, when the next size does not exist, or when the price per request of the
# large sizes turns against you. Most systems do both: a few large machines.
#
# *To here: 30 min.*

# %% [markdown] covers=["3.3", "3.3.1"]
# ## 3.3 Scaling strategies
#
# A web server can be copied because it remembers nothing. A database is what remembers. The four strategies that follow
# are four ways around that: copy the data, cut it up, remember answers, and move answers closer to those who ask.
#
# ### 3.3.1 Read replicas
#
# One node, the **primary**, takes every write and sends it on; the **replicas** repeat it and answer reads. A node does
# 100 operations a second. You have four of them, and 40 writes a second. How many reads can they answer, together?

# %%
widgets.replicas.read_capacity()

# %% [markdown]
# Not 400. A replica that did not repeat every write would not be a replica, so 40 of each node's 100 operations are gone
# before the first read comes:
#
# $$ \text{reads/s} = n\,(C - w) $$

# %% tags=["conclusion"]
four = replicas.read_capacity(3, node_capacity=100, writes_per_s=40)
print(
    f"four nodes: {four.reads_per_s:.0f} reads/s; "
    f"adding up capacities promises {four.guide_reads_per_s:.0f}"
)
nearly_full = replicas.read_capacity(3, node_capacity=100, writes_per_s=95)
print(f"with 95 writes/s: {nearly_full.reads_per_s:.0f} reads/s")
assert four.reads_per_s == 240 and nearly_full.reads_per_s == 20

# %% [markdown]
# Replicas scale reads, and only as long as writes are few. The right-hand picture asks the other way round: if a fixed
# share $f$ of all requests are writes, the total is $Cn/(1+f(n-1))$. That is Amdahl's law again, with the writes as the part
# that cannot be split, and a ceiling of $C/f$ for any number of nodes.
#
# > **The guide says**, in chapter 6, that the read capacity of primary and replicas adds up. It would if replicas were idle.
#
# #### What you wrote a moment ago
#
# The copies arrive late. You change your name, the page reloads, and the old name is back. How often?

# %%
widgets.replicas.lag()

# %% [markdown]
# A replica applies writes one after the other, so it is a queue, and its **replication lag** has a queue's tail. For
# Poisson writes at rate $\lambda$ and exponential work at rate $\mu$, a write is still missing a time $t$ after it reached
# the replica with probability $e^{-(\mu-\lambda)t}$. With 80 writes for every 100 that it can apply it is slow; from 100 on the
# lag grows for as long as the load lasts, and no timeout you choose is long enough.

# %% tags=["conclusion"]
missing = []
for writes_per_s in (50, 80, 95):
    rates = {"writes_per_s": writes_per_s, "apply_per_s": 100, "network_ms": 20}
    stale = float(replicas.stale_share(50, **rates))
    run = replicas.simulate_lag(**rates, writes=keys, seed=seed)
    print(
        f"{writes_per_s} writes/s: {stale:.0%} of the reads after 50 ms miss it "
        f"(simulated {float(run.stale_share(50)):.0%}), "
        f"mean lag {replicas.mean_lag_ms(**rates):.0f} ms"
    )
    missing.append(stale)
assert missing == sorted(missing) and missing[0] < 0.25 and missing[-1] > 0.85

# %% [markdown]
# **Read your own writes** is the least that users expect: for a while after you wrote, your reads go to the primary, or to
# a replica that has confirmed your write. Everybody else sees the old name a little longer: 70 ms on
# average, and one time in ten 135 ms or more.
#
# *To here: 45 min.*

# %% [markdown] covers=["3.3.2"]
# ### 3.3.2 Database sharding
#
# Writes scale when each node takes only some of them: the data is cut into **shards**. The first idea is the alphabet,
# and the guide draws it: users A to F, G to M, N to Z.

# %%
cities = edge_map.cities()
first_letter = np.array([ord(name[0]) - ord("A") for name in cities.names])
for starts in ("A G N", "A D G J N Q U"):
    cuts = [ord(letter) - ord("A") for letter in starts.split()]
    shard = np.searchsorted(cuts, first_letter, side="right") - 1
    people = np.bincount(shard, cities.population, len(cuts))
    shares = ", ".join(f"{share:.0%}" for share in people / people.sum())
    print(f"{len(cuts)} shards that begin at {starts}: {shares}")

# %% [markdown]
# Those are the people of 56 large cities, kept by the name of their city, which stands in for the users' names. Three
# shards look passable; with seven, one has sixteen times what another has. (What ranges are good at: names that begin alike lie together, so "all from S to T" asks
# one shard.) Names are not even over the alphabet, and neither are people.
# Some systems keep ranges and split the one that has grown (Bigtable does). Others cut by a **hash** of the key: the same key
# always gives the same number, and the numbers are spread like dice. Now each shard holds as many keys as the next. Does
# each get as many requests?

# %%
widgets.sharding.hot_shard()

# %% [markdown]
# No. Requests are not spread evenly over keys, and a hash moves keys, not requests. With 10,000 keys that follow a Zipf
# distribution, where the $r$-th most popular key gets a share in proportion to $r^{-s}$ of the requests, with $s = 1.1$, ten shards and ten different hash functions:

# %% tags=["conclusion"]
popularity = workloads.zipf_probabilities(10_000, 1.1)
names = np.arange(10_000)
hottest = []
for salt in range(10):
    shard = sharding.hash_keys(names, salt) % np.uint64(10)
    requests = np.bincount(shard.astype(int), popularity, 10)
    hottest.append(requests.max())
print(f"hottest key: {popularity[0]:.1%} of the requests")
print(f"hottest of ten shards: {min(hottest):.1%} to {max(hottest):.1%}")
assert min(hottest) >= popularity[0] > 0.1

# %% [markdown]
# > **The guide says**, in three places, that hashing distributes evenly. It does, for keys. For load there is a floor that
# > no placement can break: the hottest shard gets at least what the hottest key gets. What helps is to split or copy that
# > one key, or to cache it (Kleppmann, *Designing Data-Intensive Applications*, chapter 6).

# %% [markdown]
# *To here: 55 min.*

# %% [markdown] covers=["3.3.3"]
# ### 3.3.3 Caching layer
#
# A cache in front of the database does not make the database faster. It keeps requests away from it, and that is worth
# a factor: if it answers a share $H$ of the reads (its **hit ratio**), the same nodes carry $1/(1-H)$ times the reads.

# %%
reads_per_s = 240
for hit_ratio in (0, 0.5, 0.9, 0.99):
    print(
        f"H = {hit_ratio:4.0%}: {reads_per_s / (1 - hit_ratio):8,.0f} reads/s in front of "
        f"{reads_per_s} behind"
    )

# %% [markdown]
# No other strategy in this chapter multiplies by ten for the price of one machine. Nor does any other fail like it: when
# the cache is gone, those ten times arrive at the database at once. Chapter 5 is about both halves of that sentence.

# %% [markdown] covers=["3.3.4"]
# ### 3.3.4 CDN
#
# A **content delivery network** keeps copies at **edges** near the users; what an edge does not have it fetches from your
# own server, the **origin**. Your origin is in New York, your users are
# everywhere. Ten edges, and nine requests in ten are hits. How much does the *slowest twentieth* of the requests gain?

# %%
widgets.edge_map.edges()

# %% [markdown]
# The mean falls to a quarter. The P95 falls by only a fifth, because it is made of misses, and a miss takes the longer way: to the
# edge, and from there to the origin. Push the hit ratio down and you find the point where the whole network makes things
# slower:

# %% tags=["conclusion"]
origin = cities.index("New York")
ten = edge_map.place_edges(cities, 10)
alone = edge_map.latency(cities, origin)
print(f"origin alone: mean {alone.mean_ms:.0f} ms, P95 {alone.percentile(95):.0f} ms")
for hit_ratio in (0.05, 0.5, 0.9, 0.99):
    run = edge_map.latency(cities, origin, ten, hit_ratio)
    print(
        f"H = {hit_ratio:.0%}: mean {run.mean_ms:.0f} ms, P95 {run.percentile(95):.0f} ms"
    )
break_even = edge_map.break_even(cities, origin, ten)
print(f"slower than the origin alone below H = {break_even:.1%}")
assert edge_map.latency(cities, origin, ten, 0.05).mean_ms > alone.mean_ms

# %% [markdown]
# Two things soften the verdict. An edge keeps its connection to the origin open, so a user who would have to open a new
# one (three round trips: TCP, TLS 1.3, the request) opens it over a short way: try the last control. And a CDN takes load
# off the origin whatever the latency does. The model holds the rest simple: light in fibre travels at two thirds of $c$
# on a path 2.1 times as long as the great circle (a rule of thumb after Bozkurt and others, 2018), a user is 10 ms away
# from the network of the own city, a miss costs 2 ms at the edge, and nothing is congested.
# %% [markdown]
# *To here: 65 min.*

# %% [markdown] covers=["3.4", "3.4.1"]
# ## 3.4 Scalability patterns
#
# ### 3.4.1 Stateless services
#
# Here is a small service, as one would write it on a first day: who is logged in stands in a dictionary. You run four of
# it behind a round robin, and log in once. Of the next twelve requests, how many know you?


# %%
def remembers(server):
    """A service that keeps its sessions in its own memory."""
    app, sessions = FastAPI(), {}

    @app.post("/login/{user}")
    def login(user: str, response: Response):
        session = f"{server}-{len(sessions)}"
        sessions[session] = user
        response.set_cookie("session", session)

    @app.get("/me")
    def me(request: Request):
        user = sessions.get(request.cookies.get("session"))
        if user is None:
            raise HTTPException(401, "who are you?")
        return {"user": user, "server": server}

    return app


class RoundRobin(httpx.AsyncBaseTransport):
    """Each request to the next server."""

    def __init__(self, apps):
        self.servers = [httpx.ASGITransport(app=app) for app in apps]
        self.turn = 0

    async def handle_async_request(self, request):
        self.turn += 1
        return await self.servers[self.turn % len(self.servers)].handle_async_request(
            request
        )


async def twelve_requests(service, headers=None):
    """Log in, then ask twelve times; returns the answers."""
    fleet = RoundRobin([service(f"server {n}") for n in range(1, 5)])
    async with httpx.AsyncClient(
        transport=fleet, base_url="http://shop.example"
    ) as client:
        await client.post("/login/ada")
        return [await client.get("/me", headers=headers) for _ in range(12)]


# %% tags=["conclusion"]
answers = await twelve_requests(remembers)
print([answer.status_code for answer in answers])
assert sum(answer.status_code == 200 for answer in answers) == 3

# %% [markdown]
# Three: the requests that happen to come back to the server you logged in to. With $N$ servers it is one in $N$. You
# could ask the balancer to send you always to the same one (**sticky sessions**: chapter 4 shows what they cost), and
# whenever that server restarts, all its users are strangers.
#
# A **stateless** service keeps nothing between requests that another copy would need. What must be remembered is either
# in a store that all of them reach, or comes with the request. The second way needs care about *who says so*.
#
# > **The guide's sample** takes the user's name from a header that the client sets, and calls it the scalable version.
# > It scales. It also lets anybody be anybody:


# %%
def believes(server):
    """The guide's way: the client says who it is."""
    app = FastAPI()

    @app.post("/login/{user}")
    def login(user: str):
        pass

    @app.get("/me")
    def me(request: Request):
        return {"user": request.headers.get("user-id"), "server": server}

    return app


answers = await twelve_requests(believes, headers={"user-id": "grace, the admin"})
print(answers[0].json())

# %% [markdown]
# > Broken object-level and user authentication are the first two entries of OWASP's *API Security Top 10* (2023).
#
# Mended: the server signs what it hands out, and checks the signature when it comes back. The key is shared by all
# servers and known to nobody else, so any of them can check, and nobody can make one up.

# %%
KEY = b"from your secret store, not from your source"


def signature(user):
    tag = hmac.digest(KEY, user.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(tag).decode()


def checks_signature(server):
    """Nothing is kept: the cookie says who you are, and proves it."""
    app = FastAPI()

    @app.post("/login/{user}")
    def login(user: str, response: Response):
        response.set_cookie("session", f"{user}.{signature(user)}")

    @app.get("/me")
    def me(request: Request):
        user, _, tag = request.cookies.get("session", "").partition(".")
        if not hmac.compare_digest(tag, signature(user)):
            raise HTTPException(401, "who are you?")
        return {"user": user, "server": server}

    return app


# %% tags=["conclusion"]
answers = await twelve_requests(checks_signature)
print([answer.status_code for answer in answers])
print(sorted({answer.json()["server"] for answer in answers}))
forged = await twelve_requests(checks_signature, {"cookie": "session=grace.AAAA"})
print("forged:", {answer.status_code for answer in forged})
assert {answer.status_code for answer in answers} == {200}
assert {answer.status_code for answer in forged} == {401}

# %% [markdown]
# Every server knows you, and a restart changes nothing. The price: what is signed stays true until it expires. To lock a
# user out *now* takes a list of revoked sessions that every server reads, which is state again. A real service adds an
# expiry time, and takes a library for the format (RFC 8725 lists what goes wrong with JSON Web Tokens).
#
# *To here: 80 min.*

# %% [markdown] covers=["3.4.2"] errata=["E54"]
# ### 3.4.2 Database partitioning
#
# There are two ways to cut a table. **Horizontal** partitioning gives each shard some of the *rows*; **vertical**
# partitioning gives each table some of the *columns*.
#
# #### Rows
#
# The guide's rule is the one everybody writes first: four shards, and a user lives on shard `user_id % 4`. It is even,
# and one line. A year later four shards are full and you add a fifth. How many users have to move?

# %%
widgets.sharding.reshard()

# %% [markdown]
# A row stays only where both remainders agree. From $n$ to $n+1$ shards that is one row in $n+1$: everything else moves,
# though the new shard only needs its own $1/(n+1)$. The methods beside it, which chapter 4 takes apart, move little more
# than that.

# %% tags=["conclusion"]
for before, after in ((4, 5), (10, 11), (4, 8)):
    remainder = resharding.modulo_moves(before, after)
    needed = resharding.least_moves(before, after)
    print(
        f"{before:2} to {after:2} shards: the remainder moves {remainder:.1%}, {needed:.1%} must move"
    )
assert np.isclose(resharding.modulo_moves(4, 5), 0.8)

# %% [markdown]
# > **The guide shows** the four remainders and leaves it there. The price comes with the fifth shard: four users in five
# > move. If you must start with a remainder, *double* the shards each time: then half of the rows move, which is the least
# > that doubling needs. (Karger and others, 1997, for what to do instead.)
#
# ##### On real files
#
# Four SQLite files, 20,000 rows of 100 bytes, and a fifth file to fill. Each row is copied, then the readers are switched
# over, then the old copies go. Afterwards every row is looked up where the new rule says it is, and the contents are
# compared.

# %% tags=["nbval-ignore-output"]
methods = ("modulo", "ring", "jump", "rendezvous", "hash slots")
moved = {method: resharding.reshard(method, 4, 5, seed=seed) for method in methods}
assert all(run.nothing_lost for run in moved.values())
pd.DataFrame(
    {
        method: {
            "rows copied": f"{run.migration.rows_copied:,}",
            "MB moved": f"{run.migration.bytes_moved / 1e6:.2f}",
            "ms, measured": f"{run.migration.seconds * 1e3:.0f}",
            "fullest shard / average": f"{run.max_over_mean:.2f}",
            "every row found": run.nothing_lost,
        }
        for method, run in moved.items()
    }
).T

# %% [markdown]
# And if the migration dies half way? Here it does, after three batches of copies. Readers have noticed nothing, and the
# same command again finishes the work:


# %%
def dies_after(batches):
    """Stop the migration as if the machine had gone, after so many batches."""
    left = iter(range(batches))

    def progress(phase, rows):
        if next(left, None) is None:
            raise ConnectionResetError(f"gone, in the phase {phase!r}")

    return progress


old = sharding.sharding("jump", 4)
new = old.add(4)
with TemporaryDirectory() as folder:
    resharding.create_shards(Path(folder), old, 20_000, seed=seed)
    try:
        resharding.migrate(Path(folder), old, new, batch=500, progress=dies_after(3))
    except ConnectionResetError as error:
        print(error)
    rule = resharding.rule_in_force(Path(folder), old, new)
    halfway = resharding.inventory(Path(folder), rule)
    print(
        f"readers find {halfway.rows:,} rows, and there are {halfway.strays:,} copies too many"
    )
    resharding.migrate(Path(folder), old, new, batch=500)
    done = resharding.inventory(Path(folder), new)
    print(f"readers find {done.rows:,} rows, and {done.strays} copies too many")
assert halfway.rows == done.rows == 20_000 and halfway.checksum == done.checksum

# %% [markdown]
# What this leaves out is the hard part of a live migration: rows that are *written* while it runs. Real systems write
# to both places between the first copy and the switch.

# %% [markdown]
# #### Columns
#
# A profile has a name, an e-mail address, and a biography with a picture of 1.5 kB that one query in twenty needs. In one
# table, or in two?

# %%
widgets.row_width.split()

# %% [markdown]
# A database reads pages, not columns. A row-store page of 4 kB holds two of the wide rows and fifty-nine of the narrow
# ones, so a scan of the names reads the pictures along. The split pays while few queries need both halves. (The saw on the right is
# SQLite's: a row that does not fit keeps its beginning in the page and moves the rest to overflow pages, which a scan
# skips.) Those are the pages of a model; the cell makes the tables and counts.

# %% tags=["nbval-ignore-output"]
tables = row_width.measure(rows=20_000, hot_bytes=60, blob_bytes=1_500, seed=seed)
predicted = row_width.predict(20_000, 60, 1_500, "scan", blob_share=0.05)
counted = tables.per_query("scan", blob_share=0.05)
assert (predicted.wide, predicted.split) == (counted.wide, counted.split)
print(
    f"rows on a page: {20_000 / tables.wide.leaf:.0f} wide, {20_000 / tables.hot.leaf:.0f} narrow"
)
print(
    f"pages a scan reads: {counted.wide:,.0f} in one table, {counted.split:,.0f} in two (as predicted)"
)
for (layout, with_picture), ms in tables.scan_ms.items():
    print(
        f"{layout:5} {'with' if with_picture else 'without'} the picture: {ms:5.1f} ms"
    )

# %% [markdown]
# > **The guide says**, in chapter 1, that vertical partitioning puts columns into different *databases*. It can. Usually
# > it is two tables of one database, as above, which a transaction still holds together; across databases you pay for
# > every query that needs both halves with a second network call.

# %% [markdown]
# *To here: 95 min.*
#
# ## A decision
#
# A photo service: 900 uploads a second and 30,000 reads. One database node does 5,000 operations a second. In two years
# it may be eight times as much. Which strategy, and in which order?
#
# A read that is answered by one of $n$ nodes, each of which replays all $w$ writes, needs $n\,(C-w) \ge r$. A cache in
# front divides $r$. Shards divide both. (Shards are pairs here, a primary and a replica, so that one node may fail.)


# %%
def nodes_needed(reads, writes, capacity, shards=1):
    """Nodes for the reads if every node of a shard replays all its writes; none if the writes fill it."""
    left = capacity - writes / shards
    return shards * max(2, int(np.ceil(reads / shards / left))) if left > 0 else None


plan = pd.DataFrame(
    {
        f"{growth} ×": {
            "replicas alone": nodes_needed(30_000 * growth, 900 * growth, 5_000),
            "cache (H = 90 %), replicas": nodes_needed(
                3_000 * growth, 900 * growth, 5_000
            ),
            "cache, four shards": nodes_needed(
                3_000 * growth, 900 * growth, 5_000, shards=4
            ),
        }
        for growth in (1, 2, 4, 8)
    }
)
plan.map(lambda nodes: "impossible" if pd.isna(nodes) else f"{nodes:.0f} nodes")

# %% [markdown]
# Read it from left to right, as time goes.
#
# **Today**, a cache and two nodes. Eight nodes without a cache would do as well, and cost four times as much, most of it
# spent on repeating the same 900 writes eight times.
#
# **At four times** the primary is at 72 % with writes alone. Replicas still help on paper; the next doubling breaks them,
# whatever you add, because every copy must take every write. That is the signal, and it comes *before* the reads hurt:
# watch the share of a node that goes into writes.
#
# **At eight times** only shards remain. So the decision today is not whether to shard but to make it possible: choose a
# key (the user, here: a user's photos are read together), use a fixed number of hash slots from the first day, and never
# write a query that needs all users. *Cache now; replicas for safety; shard when writes fill half a node.*

# %% [markdown]
# ## Check yourself

# %%
widgets.check_yourself("scalability")

# %% [markdown]
# ## Exercises
#
# Write your answer into each cell, run it, then run the folded cell below it: it says "right", or the first thing that is
# not. The hints climb: what is asked again, an idea, half a solution.
#
# ### 1 · Compute: what the load test says
#
# `fit_law(servers, throughput)` gets eight measured points and returns `(sigma, kappa)` of the universal scalability law, each
# within a tenth. The measurements are off by up to half a per cent, and the throughput of one server is not known exactly
# either.


# %%
def fit_law(servers: np.ndarray, throughput: np.ndarray) -> tuple[float, float] | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>Divide: what is <code>servers / throughput</code> as a function of the servers?</details>
# <details><summary>Hint 2</summary>It is <code>a + b·(N − 1) + c·N·(N − 1)</code>: linear in three unknowns.</details>
# <details><summary>Hint 3</summary><code>np.linalg.lstsq</code> finds a, b, c from a matrix with the columns 1, N − 1 and
# N·(N − 1); a is 1/γ, so σ = b/a and κ = c/a.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def report(name, problems):
    """Say what is right, or the first thing that is not."""
    print(f"{name}: {problems[0]}" if problems else f"{name}: right")


def check_fit_law(function):
    rng = np.random.default_rng(11)
    servers = np.array([1, 2, 4, 8, 12, 16, 24, 32])
    for _ in range(20):
        truth = scaling.usl(rng.uniform(0.02, 0.1), rng.uniform(1e-3, 4e-3), 1_000)
        points = truth.throughput(servers) * (1 + rng.uniform(-0.005, 0.005, 8))
        got = function(servers, points)
        if got is None:
            yield "not written yet"
            return
        wanted = (truth.contention, truth.coherency)
        if not np.allclose(got, wanted, rtol=0.1):
            yield (
                f"for {points.round().tolist()} you find σ = {got[0]:.4f}, κ = {got[1]:.5f}; "
                f"it was σ = {wanted[0]:.4f}, κ = {wanted[1]:.5f}"
            )


report("1", list(check_fit_law(fit_law)))

# %% [markdown]
# ### 2 · Compute: reads left over
#
# `reads_per_s(nodes, capacity, writes, primary_reads)` returns how many reads a second a primary and its replicas, `nodes`
# in all, can answer, when each node does `capacity` operations a second, the primary takes `writes` writes a second and
# every replica repeats them. Where `primary_reads` is false the primary answers none. For 4 nodes, 100, 40 and true:
# 240. Never below 0.


# %%
def reads_per_s(
    nodes: int, capacity: float, writes: float, primary_reads: bool
) -> float | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>What does one replica spend on writes?</details>
# <details><summary>Hint 2</summary>All of them: a copy is a copy. What is left of it is <code>capacity - writes</code>.</details>
# <details><summary>Hint 3</summary>Multiply by the nodes that answer reads; and a node that is full with writes answers
# none.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_reads_per_s(function):
    for nodes, capacity, writes, primary_reads in (
        (4, 100, 40, True),
        (4, 100, 40, False),
        (1, 100, 30, True),
        (1, 100, 30, False),
        (8, 5_000, 900, True),
        (3, 100, 120, True),
    ):
        got = function(nodes, capacity, writes, primary_reads)
        readers = nodes if primary_reads else nodes - 1
        wanted = readers * max(0, capacity - writes)
        if got is None:
            yield "not written yet"
            return
        if not np.isclose(got, wanted):
            yield (
                f"reads_per_s({nodes}, {capacity}, {writes}, {primary_reads}) gives {got:g}, "
                f"and they can answer {wanted:g}"
            )


report("2", list(check_reads_per_s(reads_per_s)))

# %% [markdown]
# ### 3 · Build: a migration that nobody notices
#
# `plan(keys, before, after)` gets all keys and two rules, functions from a key to its shard, and returns the steps of a
# migration as a list of tuples:
#
# - `("copy", key, shard)`: the row is now on that shard *too*;
# - `("switch",)`: from now on readers look where `after` says, until now where `before` says; exactly once;
# - `("delete", key, shard)`: the row is gone from that shard.
#
# After every single step a reader must find every row. At the end each row is on the shard of `after` and nowhere else,
# and no row was copied that did not have to be.


# %%
def plan(keys, before, after) -> list[tuple]:
    return []  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>When may a row be deleted from its old shard? When may readers look at the new
# one?</details>
# <details><summary>Hint 2</summary>Three phases, one after the other, each over all the keys that move.</details>
# <details><summary>Hint 3</summary>Copy, then switch, then delete; a key moves if
# <code>before(key) != after(key)</code>.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_plan(function):
    rules = [
        (sharding.sharding("modulo", 4), sharding.sharding("modulo", 5)),
        (sharding.sharding("ring", 4), sharding.sharding("ring", 4).add(4)),
        (sharding.sharding("jump", 5), sharding.sharding("jump", 5).remove(4)),
    ]
    for old, new in rules:
        names = list(range(60))
        before = dict(zip(names, old.locate(names).tolist(), strict=True))
        after = dict(zip(names, new.locate(names).tolist(), strict=True))
        steps = function(names, before.__getitem__, after.__getitem__)
        if not steps:
            yield "not written yet: there are no steps"
            return
        held = {key: {before[key]} for key in names}
        where = before
        for number, step in enumerate(steps, 1):
            match step:
                case ("copy", key, shard):
                    if shard in held[key]:
                        yield f"step {number}, {step}: shard {shard} has this row already"
                        return
                    held[key].add(shard)
                case ("switch",):
                    where = after
                case ("delete", key, shard):
                    held[key].discard(shard)
                case _:
                    yield f"step {number}, {step}: no such step"
                    return
            lost = [key for key in names if where[key] not in held[key]]
            if lost:
                yield f"after step {number}, {step}, a reader does not find row {lost[0]}"
                return
        wrong = [key for key in names if held[key] != {after[key]}]
        if where is not after:
            yield "readers never look at the new places: there is no switch"
        elif wrong:
            yield f"at the end row {wrong[0]} is on the shards {sorted(held[wrong[0]])}"
        elif sum(step == ("switch",) for step in steps) != 1:
            yield "readers are switched more than once"


report("3", list(check_plan(plan)))

# %% [markdown]
# ### 4 · Decide: which columns go together?
#
# `hot_columns(widths, queries)` gets the bytes of each column and a list of `(columns, times)`: what a query reads, and
# how often. It returns the set of columns of the first table; the rest form the second. A query reads a whole row of each
# table that holds one of its columns, and each table that has any column also has a key of 8 bytes. Find a split that
# reads the fewest bytes. (There are at most eight columns. All in one table is a split too.)


# %%
def hot_columns(
    widths: dict[str, int], queries: list[tuple[set[str], int]]
) -> set[str] | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>Write the cost of one split first.</details>
# <details><summary>Hint 2</summary>Eight columns have 256 subsets. A computer does not mind.</details>
# <details><summary>Hint 3</summary><code>itertools.combinations</code> of every length, and <code>min</code> with your cost
# as <code>key</code>.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def bytes_read(first, widths, queries):
    tables = [set(first), set(widths) - set(first)]
    wide = [8 + sum(widths[column] for column in table) for table in tables]
    return sum(
        times * sum(wide[n] for n in (0, 1) if tables[n] & columns)
        for columns, times in queries
    )


def check_hot_columns(function):
    rng = np.random.default_rng(5)
    for _ in range(12):
        names = list("abcdefgh"[: int(rng.integers(3, 9))])
        widths = {name: int(2 ** rng.integers(0, 12)) for name in names}
        queries = [
            (set(rng.choice(names, int(rng.integers(1, len(names)))).tolist()), int(t))
            for t in rng.integers(1, 1_000, 3)
        ]
        got = function(widths, queries)
        if got is None:
            yield "not written yet"
            return
        if not set(got) <= set(names):
            yield f"{sorted(set(got) - set(names))} are not columns of the table"
            return
        least = min(
            bytes_read(
                [n for i, n in enumerate(names) if bits >> i & 1], widths, queries
            )
            for bits in range(2 ** len(names))
        )
        cost = bytes_read(got, widths, queries)
        if cost > least:
            yield (
                f"for widths {widths} and queries {queries} your split {sorted(got)} reads "
                f"{cost:,} bytes; {least:,} are enough"
            )
            return


report("4", list(check_hot_columns(hot_columns)))

# %% [markdown]
# ### 5 · Decide: five edges
#
# Your files never change, so an edge always has them (the hit ratio is 1). Choose five cities from `cities.names` such
# that 95 % of the requests take less than 100 ms. `edge_map.place_edges(cities, 5)` is a start: it makes the *mean* small.


# %%
FIVE_EDGES: list[str] = []  # names of five cities


# %% [markdown]
# <details><summary>Hint 1</summary>Whom do the five edges of <code>place_edges</code> serve badly? The slowest twentieth of
# the requests decides.</details>
# <details><summary>Hint 2</summary><code>edge_map.nearest_edge</code> and <code>cities.km</code> say how far each city is from
# its edge, <code>cities.population</code> how many live there.</details>
# <details><summary>Hint 3</summary>Start from those five, and exchange one city for another as long as that makes
# <code>edge_map.latency(cities, 0, edges, 1.0).percentile(95)</code> smaller. From other starts you may get further.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_five_edges(names):
    places = edge_map.cities()
    if not names:
        yield "not written yet"
        return
    unknown = sorted(set(names) - set(places.names))
    if unknown:
        yield f"{unknown[0]} is not one of cities.names"
        return
    if len(set(names)) != 5:
        yield f"these are {len(set(names))} different cities, and it must be five"
        return
    edges = [places.index(name) for name in names]
    p95 = edge_map.latency(places, 0, edges, 1.0).percentile(95)
    if p95 >= 100:
        away = places.km[
            np.arange(len(places.names)), edge_map.nearest_edge(places, edges)
        ]
        worst = int(np.argmax(away * places.population))
        yield (
            f"95 % take up to {p95:.0f} ms; {places.names[worst]}, for one, is "
            f"{away[worst]:,.0f} km from its edge"
        )


report("5", list(check_five_edges(FIVE_EDGES)))

# %% [markdown]
# ## What to take away
#
# - There is a best number of servers. Eight measurements and two coefficients tell you where it is.
# - One fast machine beats many slow ones of the same capacity, until it fails.
# - A replica repeats every write. It adds what the writes leave.
# - Hashing makes shards even in keys, not in load, and `% n` makes resizing a rebuild. Choose slots or a ring on the
#   first day.
# - A cache multiplies, a CDN multiplies for users far away, and both only on a hit.
#
# **Where to read on:** Neil Gunther, *Guerrilla Capacity Planning* (2007). Martin Kleppmann, *Designing Data-Intensive
# Applications*, chapters 5 and 6. David Karger and others, *Consistent Hashing and Random Trees* (STOC 1997). John Lamping and
# Eric Veach, *A Fast, Minimal Memory, Consistent Hash Algorithm* (2014).
