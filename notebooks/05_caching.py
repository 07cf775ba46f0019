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
# # Chapter 5 · Caching
#
# On a Tuesday the hit ratio of your cache slips from 99 % to 98 %. No alarm goes off: who would page anybody for
# one per cent? Ten minutes later the database is on its knees, because it gets **twice** the requests it got on
# Monday. A cache is the cheapest speed you will ever buy, and a loan on which the interest falls due all at once.
#
# In this chapter you will
#
# - compute what a cache buys, and what you owe when it is gone;
# - size a cache from a request trace instead of a rule of thumb, and choose an eviction policy by its miss-ratio
#   curve;
# - break five caching strategies, on purpose, and say which failure each one accepts;
# - stop a stampede, and know what the stopping costs;
# - talk to a real HTTP server, a real Redis and a real Memcached, and measure them.
#
# **Time:** about 120 minutes, in parts of 10 to 20 (look for *to here*). **Before you start:** you can read Python
# and have built one web application. Nothing from the earlier chapters is needed.

# %%
import asyncio
import inspect

import httpx
import numpy as np
import pandas as pd

import widgets
from course import (
    cache_interleavings,
    cache_samples,
    cache_strategies,
    caching,
    http_caching,
    http_conditions,
    http_origin,
    http_resource,
    labs,
    memory_hierarchy,
    stampede,
    stampede_fixes,
    virtual_time,
    workloads,
    write_back,
)
from course.labs import bench

pd.set_option("display.max_colwidth", None)

# %% tags=["parameters"]
seed = 1
requests = 1_000_000

# %% [markdown] covers=["5.1"] errata=["E50"]
# ## 5.1 What is caching?
#
# A cache keeps copies of some answers where they are quicker to get. That pays for one reason only: requests
# repeat. What was asked for is asked for again (**temporal locality**), and so is its neighbour (**spatial
# locality**). If every request were for something new, a cache would be a slower way to ask the database.
#
# Three numbers describe it. The **hit ratio** $H$ is the share of requests the cache answers, the **miss ratio**
# is $1-H$, and the **mean access time** weighs what the two cost. A hit costs the look-up. A miss costs the look-up
# *as well*, then the database, then the fill:
#
# $$ T = t_\text{lookup} + (1-H)\,(t_\text{database} + t_\text{fill}) $$
#
# Before you move anything: what do you expect?

# %%
widgets.caching.effective_access_time()

# %% [markdown]
# The line on the left is straight; the one that hurts is on the right. Between 90 % and 99 % nothing much happens
# to the mean, but the database sees ten requests in a hundred, or one. That is the number to watch: **the miss
# ratio is your database's load**, and it doubles when the hit ratio goes from 99 % to 98 %.

# %%
for hit_ratio in (0.0, 0.9, 0.98, 0.99):
    time = caching.effective_access_time(hit_ratio, hit_ms=1, miss_ms=100)
    print(
        f"H = {hit_ratio:4.0%}: {time.with_fill_ms:6.2f} ms, "
        f"{time.db_load:4.0%} of the requests reach the database"
    )

# %% [markdown] errata=["E50"]
# > **The guide says** that with $H = 0.9$, 1 ms for a hit and 100 ms for a miss a request takes 10.9 ms on average.
# > That is right if "a miss" already holds everything a miss does. But the 100 ms are what the database takes
# > *without* a cache, and a miss first asked the cache in vain, and then fills it:

# %%
guide = caching.effective_access_time(0.9, hit_ms=1, miss_ms=100, fill_ms=1)
print(
    f"database alone {guide.miss_only_ms:.1f} ms, with the look-up "
    f"{guide.with_lookup_ms:.1f} ms, with the fill {guide.with_fill_ms:.1f} ms"
)

# %% [markdown]
# > The difference is small here and large where the cache is far away: with a 10 ms look-up, a cache that hits one
# > time in twelve makes everything *slower*. The formula is the average memory access time of Hennessy and
# > Patterson's *Computer Architecture*; the guide's own formula for cache-aside, further down, has all three parts.

# %% [markdown]
# *To here: 10 min.*
#
# ### Where the cliffs are
#
# The idea is older than the web. Between a processor's registers and a disk lie six orders of magnitude, bridged by
# one cache after another, each larger and slower than the last.
#
# The cell below measures your machine. It walks through arrays of growing size, each element holding the index of
# the next, in random order, so that no prefetcher can guess. What fits into a cache is quick; what does not, falls
# off a cliff. (Your numbers differ from the stored ones. That is what measuring is.)

# %% tags=["nbval-ignore-output"]
curve = memory_hierarchy.pointer_chase()
found = memory_hierarchy.estimate_hierarchy(curve)
levels = [
    f"{size / 1024:,.0f} kB in {ns:.1f} ns"
    for size, ns in zip(found.bytes, found.ns, strict=False)
]
print("cliffs found after " + ", ".join(levels) + f"; memory {found.ns[-1]:.0f} ns")
pd.DataFrame({"array (kB)": curve.bytes // 1024, "ns per access": curve.ns.round(1)})[
    ::4
]

# %% [markdown]
# Spatial locality shows in plain NumPy. The next cell adds up every element of 16 MB, then every second, every fourth.
# Memory comes in **cache lines** of 64 bytes, eight numbers: with a stride of eight you pay for the whole line and use
# one number of it, and an element costs several times what it cost in sequence.

# %% tags=["nbval-ignore-output"]
strides = (1, 2, 4, 8, 16, 64, 512)
cost = memory_hierarchy.strided_sum(16_384, strides)
pd.DataFrame(
    {"ns per element": cost.round(2)}, index=pd.Index(strides, name="stride")
).T

# %% [markdown]
# The mean time of a hierarchy is computed as for one cache, level by level: what misses here pays for the next.

# %%
widgets.memory_hierarchy.cliffs()

# %% [markdown] covers=["5.2", "5.2.1"] errata=["E68"]
# ## 5.2 Where caches stand
#
# Along the way of a request there are four places to keep an answer: in the user's browser, at the edge of a
# content delivery network, in your application (in its own memory, or in a cache that several share), and in front
# of the database's expensive queries. The nearer to the user, the more time it saves and the less you control it.
#
# ### 5.2.1 The application's cache
#
# A dictionary in your process answers in about 100 ns, the time of a trip to main memory. It is private to the
# process and dies with it. A **distributed cache** (Redis, Memcached) is shared and survives your deployments, but
# it is across a network.
#
# > **The guide says** that an in-memory cache takes about 100 ns, and puts Redis and Memcached under that heading.
# > The 100 ns are right for local memory and wrong by a factor of 1,000 and more for a server, which costs a round
# > trip of the network whatever it keeps its data in. Published figures (Jeff Dean's list of 2012, Colin Scott's of 2020,
# > Simon Eskildsen's "napkin math"; sources in `data/README.md`):

# %%
numbers = memory_hierarchy.latency_numbers()
wanted = [
    "Main memory reference",
    "Round trip in the same data centre",
    "Read 4 kB at random from SSD",
    "Disk seek",
]
numbers[numbers["operation"].isin(wanted)].pivot_table(
    index="operation", columns=["source", "year"], values="nanoseconds"
).map(lambda ns: "" if pd.isna(ns) else f"{ns:,.0f} ns")

# %% [markdown]
# So the faster thing is the smaller thing, and the question becomes: **how much of the traffic can a small cache
# answer?** That depends on how unequal the popularity of your items is. Where all are equally popular, a cache of a
# tenth of the items answers a tenth of the requests, whichever items it holds. But popularity is hardly ever equal.
# It tends to follow **Zipf's law**: the item of rank $k$ gets a share proportional to $1/k^s$.

# %%
widgets.caching.cache_size()

# %% [markdown]
# With $s = 1$, a tenth of the items gets two thirds of the requests. With $s = 0$ you see the uniform case,
# where the curve is the diagonal, exactly $\min(1, C/N)$. Most of a cache's use comes from its first few per cent,
# so the curve is steep and then flat, and **doubling a cache that is already large buys little**.
#
# The dashed curve is not simulated. It is **Che's approximation** (Che, Tung and Wang 2002): every item behaves as
# if it stayed for the same time $T_C$ after its last request, and $T_C$ is chosen so that the cache is just full:
#
# $$ \sum_i \left(1-e^{-\lambda_i T_C}\right) = C, \qquad H = \sum_i p_i \left(1-e^{-\lambda_i T_C}\right) $$
#
# It asks for popularities only, not for a trace, and for LRU it is astonishingly good:

# %% tags=["conclusion"]
popularity = workloads.zipf_probabilities(10_000, 1.0)
trace = workloads.zipf_trace(requests, 10_000, 1.0, seed)
for capacity in (100, 1_000, 3_000):
    measured = caching.simulate("LRU", trace, capacity, warmup=requests // 5)
    theory = caching.che(popularity, capacity).hit_ratio
    # Five standard errors of a share, and two in a thousand for the approximation.
    tolerance = 5 * np.sqrt(theory * (1 - theory) / measured.requests) + 0.002
    assert abs(measured.hit_ratio - theory) < tolerance
    print(
        f"{capacity:5,} entries: simulated {measured.hit_ratio:.1%}, Che {theory:.1%}"
    )

# %% [markdown]
# ### Which item goes?
#
# A full cache must evict something to take something in. **LRU** evicts what was used longest ago, **FIFO** what
# came first, **LFU** what was used least often. **CLOCK** approximates LRU with one bit an item and a moving hand:
# a hit only sets the bit, where LRU must move the item in a list. **SIEVE** (2024) is CLOCK with one change: the hand
# leaves survivors where they are, and new items come in at the head. **S3-FIFO** (2023) puts a small queue in front, so
# that items used once leave soon. **ARC** (2003) balances recency
# and frequency by watching its own mistakes. **Belady's optimum** (1966) evicts the item that is needed again latest;
# it has to know the future, so it is a yardstick and not a policy.
#
# Step through a few of them. The same requests, a cache of four. Watch the run of new items in the middle (a
# **scan**, as a backup or a report makes it): who forgets everything?

# %%
widgets.caching.policy_steps()

# %% [markdown]
# ### Judge by a trace, not by taste
#
# Synthetic popularity has no scans, no loops and no shift from morning to evening. So here are real requests:
# a quarter of a million page accesses of SQLite while a bookshop runs on it (customers browse and order, fashions
# change, and four times a day a report reads everything), recorded between SQLite and its page cache; and the files that
# a documentation build opens. How they were recorded is in `data/README.md`; you can record them again.

# %%
widgets.caching.miss_ratio_curves()

# %% [markdown]
# Three things to see. The distance between LRU and the optimum is what a cleverer policy could gain at most: a quarter
# of the misses at one per cent, a half at fifty, and the best of the simple ones get less than half of that. Which
# policy is best **depends on the size**: the curves of LRU and SIEVE cross. And in the documentation build LRU is nearly
# useless below a certain size, because each run of the program opens more files, in the same order, than the cache
# holds: LRU evicts every file just before it is needed again.

# %% tags=["conclusion"]
pages = workloads.recorded_trace("sqlite_pages")
table = {}
for policy in caching.POLICIES:
    runs = [
        caching.simulate(policy, pages, round(pages.items * share), seed=seed)
        for share in (0.01, 0.1, 0.5)
    ]
    table[policy] = [run.hit_ratio for run in runs]
best = np.array(table["OPT"])
assert all((np.array(ratios) <= best).all() for ratios in table.values())
curve = caching.miss_ratio_curve(pages)
assert np.allclose(
    [curve.hit_ratio(round(pages.items * share)) for share in (0.01, 0.1, 0.5)],
    table["LRU"],
)
print(f"{pages.requests:,} {pages.recorded}")
pd.DataFrame(table, index=["1 % cached", "10 %", "50 %"]).T.map("{:.1%}".format)

# %% [markdown]
# That was one pass over the trace for all sizes at once, not one run for each size. It works because LRU is a
# **stack algorithm** (Mattson and others, 1970): a cache of 100 always holds everything a cache of 99 holds. A
# request hits in every cache larger than its **stack distance**, the number of different items asked for since the
# last time. A histogram of the distances is the curve.
#
# ### What it takes in memory
#
# The number of items times their mean size is the lower bound. Every entry also has a key, pointers, an expiry time
# and the allocator's rounding:

# %%
for average in (50, 500, 5_000):
    bare, real = (
        caching.cache_bytes(1_000_000, average, overhead_bytes=overhead)
        for overhead in (0, 60)
    )
    print(
        f"a million entries of {average:5,} bytes: {bare / 2**20:6,.0f} MiB of data, "
        f"{real / 2**20:6,.0f} MiB with 60 bytes each"
    )

# %% [markdown] covers=["5.2.2"] errata=["E69", "E70", "E71"]
# ### 5.2.2 The content delivery network
#
# A CDN puts caches, **edge servers**, in hundreds of places, and sends each user to a near one, by DNS or by
# **anycast** (the same address announced from many places). What the edge has, it answers from 10 ms away instead
# of 120. What it does not have, it fetches from your **origin**, and then the request has gone the whole way and a
# detour.

# %%
widgets.caching.cdn()

# %% [markdown]
# > **The guide says** that a CDN shortens a request by $L-l$, the difference of the two distances, and saves
# > $H \times$ size $\times$ requests of bandwidth.
# >
# > The first holds for hits alone. A miss takes *longer* than without the CDN, so the mean is
# > $l + (1-H)\,d$ with $d$ from the edge to the origin, and below a certain hit ratio the CDN slows you down:

# %% tags=["conclusion"]
edge, origin, between = 10, 100, 110
slow = caching.cdn(0.05, edge, origin, between)
even = caching.cdn(slow.break_even_hit_ratio, edge, origin, between)
print(
    f"5 % hits: {slow.mean_ms:.1f} ms with the CDN, {slow.without_ms:.0f} ms without; "
    f"break-even at {slow.break_even_hit_ratio:.1%}"
)
assert slow.mean_ms > slow.without_ms
assert np.isclose(even.mean_ms, origin)  # 1 - (L - l) / d, solved for the hit ratio

# %% [markdown]
# > The second needs the **byte hit ratio**. Requests hit small, popular things; bytes are in large, rare ones. In the
# > picture above move the spread of the object sizes and watch the two ratios part. A revalidation that ends in "not
# > modified" moves few bytes too, but not none.
# >
# > **The guide also says** that a **pull** CDN (which fetches on the first request) is good for dynamic content. It is
# > good for what you cannot predict: a long tail of *static* objects. Content that is made for each request is not
# > cacheable in either kind; what a CDN gains there is a connection that is already open and a better route. A
# > **push** CDN (you upload beforehand) suits a few large things that you know will be asked for: a release, a film.
#
# *To here: 50 min.*

# %% [markdown] covers=["5.2.3"]
# ### 5.2.3 The database's query cache
#
# An expensive query is worth keeping whole. The key is a hash of the query and its parameters, the value its rows.
# Then a row changes. Which of the stored results are now wrong?
#
# You may throw away everything that read from the table (**table-level**), or only what depends on that row
# (**row-level**), or nothing until it expires (**query-level** with a time to live). Finer invalidation keeps
# more, knows more, and is wrong more easily.

# %%
widgets.query_cache.invalidation()

# %% [markdown]
# Naming the query one has changed feels precise and is wrong: the lists and sums that the row is in stay as they were.
# Throwing away all that read the *table* is never wrong, and with a write every twenty operations it leaves little.
# **Materialized views**, in which the database keeps such a result itself, move the same problem to where the
# dependencies are known (chapter 6).

# %% [markdown] covers=["5.2.4"] errata=["E72", "E73", "E74"]
# ### 5.2.4 The browser's cache
#
# The cheapest request is one that is not made. With `Cache-Control: max-age=60` the browser may use its copy for a
# minute and ask nobody. After that the copy is **stale** but perhaps still right, so the browser asks *"has it
# changed?"*: it sends back the `ETag` it got (`If-None-Match`) or the date (`If-Modified-Since`), and the server
# answers **304 Not Modified**, without a body, or 200 with the new one. `no-cache` means *ask each time*;
# `no-store` means *do not keep it*.
#
# Here is a real server (FastAPI, on a port of its own) and a real client with a cache that follows RFC 9111:

# %%
document = http_resource.Document(size=10_000)
policy = http_resource.Policy(max_age=60, etag="weak")

with (
    http_origin.serve(http_origin.origin(document, policy)) as url,
    httpx.Client(base_url=url) as client,
):
    first = client.get("/document")
    tag = first.headers["etag"]
    again = client.get("/document", headers={"If-None-Match": tag})
    document.edit(now=1_700_000_000)
    changed = client.get("/document", headers={"If-None-Match": tag})

print(
    f"GET                        {first.status_code}, {len(first.content):6,} bytes, "
    f"Cache-Control: {first.headers['cache-control']}"
)
print(f"GET with If-None-Match     {again.status_code}, {len(again.content):6,} bytes")
print(
    f"the same after an edit     {changed.status_code}, {len(changed.content):6,} bytes"
)

# %% [markdown]
# The explorable runs the same rules without the network, so that you can edit the page every 0.2 s and see who
# notices:

# %%
widgets.http_caching.revalidation()

# %% [markdown]
# > **The guide says** that *strong validation* is `If-Modified-Since` and `If-None-Match`. Neither is
# > (RFC 9110, sections 8.8.2 and 13.1). A date is a **weak** validator, because it counts whole seconds: of two
# > edits within one second the browser sees one. And `If-None-Match` must compare *weakly*: `W/"x"` matches `"x"`.
# > Strong comparison is for `If-Match`, which guards a write, and for `If-Range`, which resumes a download.

# %% tags=["conclusion"]
# The page is read at 10.3 s, between two edits of the same second, and once more a minute later.
two_edits = http_caching.Schedule(
    request_s=np.array([0.0, 10.3, 70.0]), edit_s=np.array([10.1, 10.6])
)
for name, etag, dated in (("date", "none", True), ("tag", "strong", False)):
    ask_always = http_resource.Policy(max_age=0, etag=etag, last_modified=dated)
    result = http_caching.browse(
        two_edits, ask_always
    )  # the real server and the real client
    assert (
        result.not_modified
        == http_caching.revalidation(two_edits, ask_always).not_modified
    )
    third = "the first edit, for good" if result.out_of_date_request[2] else "right"
    print(f"{name:>5}: the third answer is {third}")
    assert bool(result.out_of_date_request[2]) == (name == "date")

weak, strong = 'W/"x"', '"x"'
assert http_conditions.weak_match(weak, strong) and not http_conditions.strong_match(
    weak, strong
)
print(
    f"{weak} and {strong}: If-None-Match says equal, If-Match and If-Range say different"
)

# %% [markdown]
# > **The guide also draws** the browser's cache as *local storage*, and gives local and session storage 5 to 10 MB.
# > They are different things: the HTTP cache is filled by the browser, ruled by headers, and out of a script's reach;
# > local storage is a small dictionary that your script fills and must expire itself, about 5 MiB an origin each (MDN, *Storage quotas and eviction criteria*).
# > `IndexedDB` is the large one.
#
# *To here: 60 min.*

# %% [markdown] covers=["5.3"]
# ## 5.3 Five strategies
#
# Two stores, no transaction across them. Every strategy below is an answer to *who writes where, in which order*, and
# each chooses which failure it would rather have.
#
# | strategy | a read that misses | a write | accepts |
# |---|---|---|---|
# | cache-aside | the application loads and fills | the database, then the cache entry is updated or deleted | stale entries |
# | write-through | same | the database and the cache | slow writes, stale entries all the same |
# | write-back | same | the cache; the database later | lost writes |
# | refresh-ahead | same, and entries are reloaded before they expire | as cache-aside | loads nobody needed |
# | write-around | same | the database only | stale entries until they expire |

# %%
widgets.cache_strategies.strategy_arena()

# %% [markdown]
# Choose *both at once* and the write gets as slow as the slower of the two; let one write in a hundred crash half
# way and see keys that stay different. No setting makes all the bars on the right vanish. The rest of this section
# takes the strategies one by one, as code.

# %% [markdown] covers=["5.3.1"] errata=["E75", "E76", "E77"]
# ### 5.3.1 Cache-aside
#
# The application asks the cache, on a miss the database, and puts what it found into the cache. It is the default
# for good reasons: only what is read is kept, and the cache knows nothing of your database.
#
# > **The guide counts** two round trips for a miss. Its own formula, and the code, have three: get, load, set.
#
# > **The guide's sample** forgets to wait for the cache, and takes every falsy value for a miss. In Python the same
# > code reads like this, and fails like this:


# %%
def show(*scenes):
    """Play scenes with the guide's logic as it is, and with it mended."""
    rows = {}
    for scene in scenes:
        both = cache_samples.demonstrate(scene)
        for name, end in (("as it is", both.broken), ("mended", both.mended)):
            rows[both.scene, name] = {
                "read": str(list(end.answers)),
                "cache": str(end.cached),
                "database": str(end.stored),
                "calls": end.database_calls,
                "note": end.note,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


print(inspect.getsource(cache_samples.FalsyMiss.read))
show("falsy value", "unawaited get")

# %% [markdown]
# > **The guide says** that with cache-aside a failing cache does not break the application. Its sample has no `try`,
# > so the first refused connection is an error page. And if it had: the database now gets everything.

# %% tags=["conclusion"]
for hit_ratio in (0.5, 0.9, 0.99):
    load = caching.effective_access_time(hit_ratio, hit_ms=1, miss_ms=100)
    assert np.isclose(load.load_without_cache, 1 / (1 - hit_ratio))
    print(
        f"a cache with H = {hit_ratio:.0%} fails: "
        f"the database gets {load.load_without_cache:.0f} times its load"
    )

# %% [markdown] covers=["5.3.2"] errata=["E81", "E82", "E83"]
# ### 5.3.2 Write-through
#
# The write goes to the database and to the cache before it is acknowledged, so the next read hits.
#
# > **The guide says** that both are written *simultaneously*, that a write takes $\max(t_\text{db}, t_\text{cache})$,
# > and that the two always match. Its algorithm and its code write one *after* the other. That costs the sum. Sent at once they cost the larger of the two,
# > and on average more than the larger of the two *means*, because now one is late and now the other:

# %% tags=["conclusion"]
for order in ("sequential", "parallel"):
    constant = cache_strategies.write_latency(order, db_ms=20, cache_ms=5)
    varying = cache_strategies.write_latency(order, db_ms=20, cache_ms=5, spread=1)
    run = cache_strategies.simulate(
        "write-through", order=order, db_ms=20, cache_ms=5, spread=1, seed=seed
    )
    # Exponential steps: the standard deviation of a write is below the sum of the two means.
    assert abs(run.write_mean_ms - varying) < 5 * 25 / np.sqrt(run.writes)
    print(
        f"{order:>10}: {constant:.0f} ms if each step takes its mean; "
        f"{varying:.1f} ms if times vary (measured {run.write_mean_ms:.1f})"
    )

# %% [markdown]
# > And they do not always match. Two writers suffice; nobody has to crash. There are six orders of *A writes, A puts,
# > B writes, B puts*:

# %%
for one in cache_interleavings.interleavings(
    cache_interleavings.SCENARIOS["two write-through writers"]
):
    remark = "   <- they differ" if one.stale else ""
    print(
        f"{' '.join(one.order):32} cache {one.cache}, database {one.database}{remark}"
    )

# %% [markdown]
# > The sample has one more fault: it puts the *patch* into the cache where the whole row should be.

# %%
show("cached patch")

# %% [markdown] covers=["5.3.3"] errata=["E84", "E85"]
# ### 5.3.3 Write-back
#
# Acknowledge from the cache, write to the database later, many at once. It is the fastest way to write and the only
# one of the five that can lose what it has confirmed.

# %%
widgets.cache_strategies.write_back_crash()

# %% [markdown]
# The expected loss is the write rate times the mean time a write stays unsaved, which is half the flush interval
# when flushes succeed. The picture is a sawtooth, and the crash comes at a random place of it.
#
# > **The guide gives** the risk as P(cache fails) × P(not yet written). That is the chance for one write, if the two
# > were independent. But a crash takes *all* unsaved writes together: what you want to know is how many.

# %% tags=["conclusion"]
for flush_ms in (100, 1_000, 5_000):
    crash = write_back.write_back_crash(
        writes_per_s=200, flush_ms=flush_ms, crash_at_s=100, seed=seed
    )
    # Four standard errors of the mean over one run, as the model computes them.
    assert abs(crash.mean_loss - crash.expected_loss) < 4 * crash.expected_loss_se
    print(
        f"flush every {flush_ms:5,} ms: a crash loses {crash.mean_loss:5.1f} writes on average "
        f"(theory {crash.expected_loss:5.1f}); any in {crash.any_loss:.1%}"
    )

# %% [markdown]
# > **The guide's queue** starts a processor when the queue's length is 1. While the first batch is being written the
# > queue is empty again, so the next update starts a second processor, and the two race. Run as it is:

# %%
print(inspect.getsource(cache_samples.RacingQueue.write))
show("write-back order", "write-back error")

# %% [markdown] covers=["5.3.4"] errata=["E86", "E87", "E88"]
# ### 5.3.4 Refresh-ahead
#
# Reload an entry shortly before it expires and nobody waits for it. It costs loads that nobody asked for.

# %%
widgets.cache_strategies.refresh_ahead()

# %% [markdown]
# > **The guide says** that the hit ratio becomes $H' = H + p\,(1-H)$, with $p$ the chance that a refresh comes in
# > time. That treats every miss as one that a refresh could have averted. A refresh cannot bring back what was
# > **evicted**, and cannot foresee what was **never asked for**. Only expiry misses go:
# > $H' = H + p\,m_\text{expiry}$.

# %% tags=["conclusion"]
for capacity in (300, 2_000, 8_000):
    run = cache_strategies.refresh_ahead(
        capacity=capacity, ttl_s=60, window=0.2, seed=seed
    )
    print(
        f"{capacity:5,} entries: {run.hit:.1%} become {run.refreshed_hit:.1%}; "
        f"“every miss” promised {run.guide_hit:.1%}, “only expiry” {run.corrected_hit:.1%}"
    )
    # A little too high: an early refresh brings the next expiry forward.
    assert abs(run.corrected_hit - run.refreshed_hit) < abs(
        run.guide_hit - run.refreshed_hit
    )

# %% [markdown]
# > **The guide's text** predicts which items will be needed; **its code** reloads every key that is about to expire,
# > read or not. (That is the *timer* in the picture above: compare its loads.) The code also stores a promise in
# > place of the row, because nobody waits for the database, and counts the time to live in milliseconds, where every
# > other sample counts seconds:

# %%
show("refresh-ahead")

# %% [markdown] covers=["5.3.5"] errata=["E89"]
# ### 5.3.5 Write-around
#
# Writes go to the database and leave the cache alone; nothing is cached that nobody reads. Good for logs and bulk
# loads.
#
# > **The guide says** that reads are fresh. On a miss, yes. But an entry that is there *stays* there, old, until it
# > expires. Write-around needs a delete like everybody else. (The stale reads that are left with a delete are a race, and
# > the subject of 5.4.2.)

# %% tags=["conclusion"]
around = cache_strategies.simulate("write-around", seed=seed)
deleting = cache_strategies.simulate("cache-aside", order="invalidate", seed=seed)
print(
    f"write-around:               {around.stale_reads:5,} stale reads of {around.reads:,}"
)
print(
    f"the same, but with delete:  {deleting.stale_reads:5,} stale reads of {deleting.reads:,}"
)
assert deleting.stale_reads < around.stale_reads / 2
show("write-around")

# %% [markdown] covers=["5.4", "5.4.1"]
# *To here: 85 min.*
#
# ## 5.4 Invalidation
#
# ### 5.4.1 By time
#
# A **time to live** bounds how old an answer can be, whatever else goes wrong, so every entry should have one. It
# also decides the hit ratio: an item that is asked for $\lambda$ times a second and kept for $T$ seconds misses once
# and then hits $\lambda T$ times:
#
# $$ h = \frac{\lambda T}{1+\lambda T} $$

# %%
widgets.caching.time_to_live()

# %% [markdown]
# The second panel is the trap. Entries filled together, at a deployment or by a batch job, expire together, life
# after life. A little **jitter** on the time to live spreads them out and costs nothing.

# %% [markdown] covers=["5.4.2"] errata=["E90"]
# ### 5.4.2 By event
#
# Delete the entry when the row changes. In which order?
#
# > **The guide's sample** starts the database's write, does not wait for it, and deletes the entry. A reader who
# > comes between the two finds no entry, reads the *old* row, and fills it:

# %%
show("unawaited write")

# %% [markdown]
# Waiting for the write is better, and not enough. Below are *all* orders of a reader and a writer who does it
# right, database first, then delete. Step through the bad one.

# %%
widgets.cache_strategies.invalidation_race()

# %% [markdown]
# The reader read the old row, was slow, and filled it after the delete. It takes a rare coincidence, and a busy site
# produces rare coincidences all day. Facebook's memcache closes the hole with **leases** (Nishtala and
# others, NSDI 2013): a miss hands out a token, a delete makes it void, and a fill with a void token is refused. Switch
# them on above and the bad order is gone.

# %% tags=["conclusion"]
for name in (
    "reader and invalidating writer",
    "reader and writer that deletes first",
    "reader and write-through writer",
):
    actors = cache_interleavings.SCENARIOS[name]
    plain, leased = (
        cache_interleavings.interleavings(actors, leases=leases)
        for leases in (False, True)
    )
    print(
        f"{name:40} {sum(s.stale for s in plain)} of {len(plain)} end stale, "
        f"with leases {sum(s.stale for s in leased)}"
    )
assert not any(
    s.stale
    for s in cache_interleavings.interleavings(
        cache_interleavings.SCENARIOS["reader and invalidating writer"], leases=True
    )
)

# %% [markdown]
# Leases help those who delete *after* they have written. Delete first, and a reader may fetch the old row with a lease
# that is perfectly valid; put instead of delete, and nothing makes the reader's lease void.
#
# And a delete has a price that is easy to overlook. It turns the next read into a miss, and the race lives in misses:

# %% tags=["conclusion"]
stale = {}
for order in ("sequential", "invalidate"):
    run = cache_strategies.simulate(
        "cache-aside", order=order, crash_probability=0.01, seed=seed
    )
    stale[order] = run.stale_reads
    print(
        f"{order:>10}: {run.stale_reads:4} stale reads of {run.reads:,}, "
        f"hit ratio {run.hit_ratio:.1%}, {run.inconsistent_keys} keys left different"
    )
assert stale["invalidate"] > stale["sequential"]

# %% [markdown]
# Updating the entry keeps it warm and serves fewer stale reads here; deleting it never leaves a *wrong order of puts*
# behind. With leases or versions you may delete without the race. Without them, the time to live is what bounds the
# damage.

# %% [markdown] covers=["5.4.3"] errata=["E91"]
# ### 5.4.3 By hand
#
# `delete(key)` repairs one entry. `clear()` is offered beside it as if it were the same, only more.
#
# > **The guide lists** clearing the whole cache as a way to invalidate. It makes every request a miss, all at once,
# > which is the next section; and on a Redis that several services share, `FLUSHDB` empties the neighbours' data
# > too. Change a version number in the key prefix instead: the old entries are never asked for again and leave by
# > themselves.

# %% [markdown] covers=["5.5", "5.5.1"] errata=["E78", "E79", "E80"]
# ## 5.5 Patterns: the stampede
#
# A popular entry expires. The next request misses and loads, which takes 200 ms. In those 200 ms a hundred others
# miss too, and load the same row. That is a **cache stampede**; the database, slower under load, makes the window
# longer and the crowd larger.

# %%
widgets.stampede.stampede()

# %% [markdown]
# Try the protections in turn, then let one load in ten fail, then use four processes:
#
# - **single-flight**: within a process the first miss loads and the others wait for *its* result, error included;
# - **a lock in Redis**: the same across processes, at the price of polling and a lock that must expire;
# - **XFetch** (Vattani and others, VLDB 2015): each request may refresh *before* expiry, with a probability that grows
#   as the end comes near, so that one does and the others never notice;
# - **stale-while-revalidate** (RFC 5861): everybody gets the old value while one loads the new one.
#
# > **The guide has two samples.** The first removes its lock only when the load succeeds. One failed load, and the key
# > is dead until the process restarts. The second mends that, and lets the waiters read the cache again, where the
# > value need not have arrived. Neither gives its entries a time to live, and each process has its own locks. Below, the
# > database fails once, and then three requests come, one second apart; and in a second scene three come at once:


# %%
async def ask(make, fails, apart_s):
    database = stampede_fixes.Database(0.2, fails)
    loader = make(stampede_fixes.Cache(0.001), database)

    async def one(number):
        await asyncio.sleep(number * apart_s)
        try:
            return "the row" if await loader.get("user:1") else "no such row"
        except stampede_fixes.DatabaseError:
            return "error"

    answers = await asyncio.gather(*(one(number) for number in range(3)))
    return f"{', '.join(answers)} ({len(database.call_s)} loads)"


def single_flight(cache, database):
    return stampede_fixes.SingleFlight(cache, database, ttl=lambda: 60.0)


print(inspect.getsource(stampede_fixes.GuideV1._load))
print(inspect.getsource(stampede_fixes.SingleFlight._fly))
loaders = {
    "guide v1": stampede_fixes.GuideV1,
    "guide v2": stampede_fixes.GuideV2,
    "single-flight": single_flight,
}
pd.DataFrame(
    {
        name: {
            "the first load fails, 1 s apart": virtual_time.run(ask(make, [True], 1.0)),
            "no failure, all at once": virtual_time.run(ask(make, [], 0.0)),
        }
        for name, make in loaders.items()
    }
).T

# %% [markdown]
# All protections under fire: four processes, and one load in ten fails.

# %%
rows = {}
for fix in stampede.FIXES:
    run = stampede.stampede(fix=fix, processes=4, db_error_probability=0.1, seed=seed)
    rows[fix] = [
        run.db_calls,
        run.peak_concurrent_calls,
        round(run.p99_ms),
        run.errors,
        run.empty_answers,
        run.dead_keys,
    ]
pd.DataFrame.from_dict(
    rows,
    orient="index",
    columns=[
        "database calls",
        "most at once",
        "p99 (ms)",
        "errors",
        "empty answers",
        "dead keys",
    ],
)

# %% [markdown]
# The same requests through ordinary `asyncio` code, and through the compiled loop behind the picture, give the same
# counts, call by call:

# %% tags=["conclusion"]
for fix in stampede.FIXES:
    compiled = stampede.stampede(
        clients=20, ttl_s=2, fix=fix, processes=2, db_error_probability=0.1, seed=seed
    )
    real_code = stampede.stampede_asyncio(
        clients=20, ttl_s=2, fix=fix, processes=2, db_error_probability=0.1, seed=seed
    )
    assert (
        compiled.db_calls == real_code.db_calls and compiled.errors == real_code.errors
    )
    print(
        f"{fix:24} {real_code.db_calls:4} database calls, {real_code.errors:4} errors, in both"
    )

# %% [markdown] covers=["5.6", "5.6.1"] errata=["E92"]
# ## 5.6 Redis and Memcached
#
# ### 5.6.1 Redis
#
# Redis is a single-threaded server of data structures in memory: strings, hashes, lists, sorted sets, with expiry,
# scripts and persistence if you want it. The cell starts one for you if `redis-server` is installed, and otherwise an
# embedded stand-in (the measurement below says which it was).

# %%
with labs.start("redis") as lab:
    client = lab.client()
    greeting, user = lab.key("greeting"), lab.key("user:1")
    client.set(greeting, "hello", ex=3600)
    client.hset(user, mapping={"name": "Ada", "age": 36})
    print(client.get(greeting), "for", client.ttl(greeting), "s more")
    print(client.hgetall(user))

# %% [markdown]
# > **The guide's sample** creates a client and never connects it; the library it uses has refused that since its
# > version 4. `redis-py` connects with the first command, so the Python above needs no such line, and shows no such
# > error until there is no server.
#
# One command, one round trip. The server could answer a hundred thousand a second and more (you measure it below);
# your client waits for the network between each. **Pipelining** sends many and then reads the answers:

# %%
widgets.labs.pipelining()

# %% tags=["nbval-ignore-output"]
with labs.start("redis") as lab:
    print(lab.label)
    runs = [bench.bench(lab, depth=depth, n=depth * 20) for depth in (1, 10, 100)]
    cost = bench.fit_round_trip(runs)
    memory_of_a_key = bench.bytes_per_key(lab) if lab.source != "embedded" else None
for run in runs:
    print(
        f"{run.depth:4} at a time: {run.ops_per_s:9,.0f} commands/s, "
        f"the model says {cost.ops_per_s(run.depth):9,.0f}"
    )
print(f"a round trip costs {cost.rtt_us:.0f} µs, a command {cost.service_us:.1f} µs")
if memory_of_a_key is not None:
    print(
        f"a key with a value of 100 bytes takes {memory_of_a_key.total:.0f} bytes, "
        f"{memory_of_a_key.overhead:.0f} of them overhead"
    )

# %% [markdown] covers=["5.6.2"]
# ### 5.6.2 Memcached
#
# Memcached is the plainer of the two: keys, opaque values, expiry, several threads, nothing on disk. There is no
# embedded stand-in for it; without the server the cell shows what it gave when it was recorded.

# %%
try:
    with labs.start("memcached") as lab:
        client = lab.client()
        key = lab.key("greeting")
        client.set(key, "hello", expire=3600)
        print(client.get(key), client.get(lab.key("nobody")))
except labs.LabUnavailable as missing:
    print(b"hello", None)
    print(f"(recorded; {missing})")

# %% [markdown]
# *To here: 110 min.*
#
# ## A decision
#
# A product catalogue: 2 million items of 2 kB, 40,000 reads a second at the peak, popularity Zipf with $s = 0.9$. The
# database answers 3,000 reads a second before its latency takes off. You want it at half of that. How much cache, on
# how many nodes, with which strategy?
#
# **First the hit ratio.** It follows from the load the database can bear, not from a wish:

# %%
reads_per_s, database_limit, items, item_bytes = 40_000, 3_000, 2_000_000, 2_000
needed = 1 - 0.5 * database_limit / reads_per_s
popularity = workloads.zipf_probabilities(items, 0.9)
entries = caching.size_for_hit_ratio(popularity, needed)
memory = caching.cache_bytes(entries, item_bytes, overhead_bytes=60)
print(f"hit ratio needed: {needed:.2%}")
print(
    f"entries: {entries:,} of {items:,} ({entries / items:.0%}), "
    f"{memory / 2**30:.1f} GiB with 60 bytes each on top"
)

# %% [markdown]
# Ninety-six per cent sounded modest, and takes most of the catalogue: the tail of a Zipf distribution is long. At this
# size the honest answer is to **cache everything** and be done with eviction.
#
# **Then the day a node dies.** Its share of the keys misses until they are loaded again:

# %%
outage = pd.DataFrame({"nodes": [2, 4, 8, 16, 32]})
outage["hit ratio, one node down"] = (needed * (1 - 1 / outage["nodes"])).map(
    "{:.1%}".format
)
outage["database reads /s"] = (
    (reads_per_s * (1 - needed * (1 - 1 / outage["nodes"]))).round().astype(int)
)
outage["within 3,000 /s"] = outage["database reads /s"] <= database_limit
outage

# %% [markdown]
# With a hit ratio of 96 % it takes 32 nodes until the loss of one no longer sinks the database. So either each key is
# kept on two nodes, or loads from the database are limited (single-flight, and a cap on concurrent loads) and the
# page can do without the item for a second. That, not the memory, is the decision.
#
# **Last the strategy.** Reads outnumber writes a hundred to one, a price may be a minute old, and a lost write is a lost
# price change: *cache-aside, delete on write, with leases; a time to live of ten minutes ± 10 %; single-flight in every
# process.* Write-back is out, because what it loses is a price. Write-through buys nothing, because most items written
# are not read next.

# %% [markdown]
# ## Check yourself

# %%
widgets.check_yourself("caching")

# %% [markdown]
# ## Exercises
#
# Write your answer into each cell, run it, then run the folded cell below it: it says "right", or the first thing that is
# not.
#
# ### 1 · Compute: which hit ratio?
#
# A hit takes `hit_ms`. A miss takes the look-up and then `miss_ms` in the database; the fill is done in the background.
# Return the least hit ratio at which the mean is at most `target_ms`.


# %%
def hit_ratio_for(target_ms: float, hit_ms: float, miss_ms: float) -> float | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint</summary> Write the mean as a function of the hit ratio, and solve for it.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def report(name, problems):
    """Say what is right, or the first thing that is not."""
    print(f"{name}: {problems[0]}" if problems else f"{name}: right")


def check_hit_ratio_for(function):
    for target, hit, miss in ((5, 1, 100), (2, 1, 50), (1.5, 0.5, 20)):
        got, expected = (
            function(target, hit, miss),
            caching.required_hit_ratio(target, hit, miss, fill_ms=0),
        )
        if got is None:
            yield "not written yet"
        elif not np.isclose(got, expected):
            call = f"hit_ratio_for({target}, {hit}, {miss})"
            yield f"{call} gives {got:.4f}; with that ratio the mean is not {target} ms"


report("1", list(check_hit_ratio_for(hit_ratio_for)))

# %% [markdown]
# ### 2 · Build: an LRU cache
#
# `get(key)` returns the value or `None`; `put(key, value)` stores it and evicts the least recently used entry when
# there are more than `capacity`. Both count as a use.


# %%
class LRU:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    def get(self, key):
        return None  # your code

    def put(self, key, value):
        pass  # your code


# %% [markdown]
# <details><summary>Hint</summary> <code>dict</code> remembers the order of insertion: taking a key out and putting it
# back moves it to the end. <code>next(iter(d))</code> is the oldest.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_lru(cls):
    trace = workloads.zipf_trace(300, 12, 0.8, seed=3)
    expected = caching.simulate("LRU", trace, 4, record=True).hit_flags
    cache = cls(4)
    for number, key in enumerate(trace.tolist()):
        hit = cache.get(key) is not None
        if not hit:
            cache.put(key, f"value {key}")
        if cache.get(key) != f"value {key}":
            yield (
                "not written yet"
                if number == 0
                else f"request {number}: get({key}) after put gives {cache.get(key)!r}"
            )
            return
        if hit != bool(expected[number]):
            recent = trace[max(0, number - 8) : number].tolist()
            said = "hits where LRU misses" if hit else "misses where LRU hits"
            yield f"request {number}, for {key}, {said}; before it came {recent}"
            return


report("2", list(check_lru(LRU)))

# %% [markdown]
# ### 3 · Build: single-flight
#
# `get(key)` calls `await load(key)` once, however many ask at the same time; all get the result, or the exception.
# After a failure the next call loads again.


# %%
class MySingleFlight:
    def __init__(self, load) -> None:
        self.load = load

    async def get(self, key):
        return None  # your code


# %% [markdown]
# <details><summary>Hint</summary> Keep an <code>asyncio.Future</code> (or a task) by key while a load is under way, and
# take it away when it is done, <em>however</em> it ends.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_single_flight(cls):
    async def experiment():
        calls = []

        async def load(key):
            calls.append(key)
            await asyncio.sleep(0.2)
            if len(calls) == 1:
                raise ConnectionError("the database is away")
            return f"row {key}"

        flight = cls(load)
        first = await asyncio.gather(
            *(flight.get("a") for _ in range(5)), return_exceptions=True
        )
        second = await asyncio.gather(
            *(flight.get("a") for _ in range(5)), return_exceptions=True
        )
        return calls, first, second

    calls, first, second = virtual_time.run(experiment())
    if not calls:
        yield "not written yet"
    elif not all(isinstance(answer, ConnectionError) for answer in first):
        yield f"the load failed, and the five who asked got {first!r}"
    elif second != ["row a"] * 5:
        yield f"after a failure the next five got {second!r}"
    elif len(calls) != 2:
        yield f"{len(calls)} loads where 2 suffice: one that failed, one that did not"


report("3", list(check_single_flight(MySingleFlight)))

# %% [markdown]
# ### 4 · Decide: how large?
#
# 10,000 items, popularity Zipf with $s = 1$, LRU. Give the smallest cache, in entries, that hits 80 % of the time. You
# pass within 5 %; the check *measures* your size with a simulation, so it knows no answer by heart.

# %%
my_size = None  # your number

# %% [markdown]
# <details><summary>Hint</summary> The explorable <em>How large must it be?</em> has a curve for it, and
# <code>caching.che</code> is a function you can call in a loop.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_size(size):
    if size is None:
        yield "not written yet"
        return
    trace = workloads.zipf_trace(400_000, 10_000, 1.0, seed=11)
    measured = caching.simulate("LRU", trace, size, warmup=100_000).hit_ratio
    smaller = caching.simulate(
        "LRU", trace, max(1, int(size * 0.9)), warmup=100_000
    ).hit_ratio
    if measured < 0.795:
        yield f"{size:,} entries hit {measured:.1%} of the time: too few"
    elif smaller > 0.805:
        yield (
            f"{size:,} entries hit {measured:.1%} of the time, and a tenth fewer still "
            f"{smaller:.1%}: more than it takes"
        )


report("4", list(check_size(my_size)))

# %% [markdown]
# ### 5 · Find: every schedule that ends stale
#
# Two write-through writers and no reader. Return how many of the orders end with a cache that differs from the database,
# by enumerating them yourself (`itertools` helps), not by calling `cache_interleavings`.


# %%
def stale_orders() -> int | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint</summary> Which positions of four belong to A? <code>itertools.combinations(range(4), 2)</code>.
# </details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_stale(function):
    got = function()
    schedules = cache_interleavings.interleavings(
        cache_interleavings.SCENARIOS["two write-through writers"]
    )
    if got is None:
        yield "not written yet"
    elif got != sum(one.stale for one in schedules):
        yield f"{got} of {len(schedules)} is not what running them all gives"


report("5", list(check_stale(stale_orders)))

# %% [markdown]
# ## Take-aways
#
# 1. Watch the miss ratio, not the hit ratio: it is your database's load.
# 2. Size a cache by its miss-ratio curve, from your own trace. Che's approximation does it from popularities alone.
# 3. Without a transaction across the two stores some order of steps ends stale. Bound it with a time to live; close it
#    with leases or versions.
# 4. Write-back loses the write rate times half the flush interval, for every crash. Decide whether that is a number
#    you can live with.
# 5. Jitter every time to live, and let one load for all.
#
# ## Read on
#
# - Hao Che, Ye Tung, Zhijun Wang: *Hierarchical Web Caching Systems: Modeling, Design and Experimental Results*, IEEE
#   JSAC 20(7), 2002.
# - R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger: *Evaluation Techniques for Storage Hierarchies*, IBM Systems
#   Journal 9(2), 1970.
# - Yazhuo Zhang, Juncheng Yang and others: *SIEVE is Simpler than LRU*, NSDI 2024; Juncheng Yang and others: *FIFO
#   Queues are All You Need for Cache Eviction*, SOSP 2023.
# - Nimrod Megiddo, Dharmendra Modha: *ARC: A Self-Tuning, Low Overhead Replacement Cache*, FAST 2003.
# - Rajesh Nishtala and others: *Scaling Memcache at Facebook*, NSDI 2013.
# - Andrea Vattani, Flavio Chierichetti, Keegan Lowenstein: *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015.
# - RFC 9110 (HTTP Semantics), RFC 9111 (HTTP Caching), RFC 5861 (stale-while-revalidate).
