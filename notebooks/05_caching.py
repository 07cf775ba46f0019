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
# On a Tuesday the hit ratio of your cache slips by one and a half per cent. No alarm goes off: who would page anybody
# for that? Ten minutes later the database is on its knees, under a multiple of Monday's requests. A cache is the
# cheapest speed you will ever buy, and a loan on which the interest falls due all at once.
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
# **Time:** about 130 minutes, in parts of 10 to 25 (look for *to here*). **Before you start:** you can read Python
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
    query_cache,
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
# Two numbers describe it. The **hit ratio** $H$ is the share of requests the cache answers, and the **miss ratio** is
# $1-H$. Before you read on: what does a small change of the hit ratio do to the database behind it?

# %%
widgets.caching.effective_access_time()

# %% [markdown]
# The **mean access time**, on the left, weighs what a hit and a miss cost. A hit costs the look-up. A miss costs the
# look-up *as well*, then the database, then the fill:
#
# $$ T = t_\text{lookup} + (1-H)\,(t_\text{database} + t_\text{fill}) $$
#
# That is a straight line, and it is not the one that hurts. On the right, from 98 % to 99 % the mean falls by one
# millisecond, which no user feels, and the database's load halves. **The miss ratio is your database's load**: that is
# the number to watch.

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
far = caching.effective_access_time(1 / 12, hit_ms=10, miss_ms=100)
print(
    f"look-up and fill of 10 ms, one hit in twelve: {far.with_fill_ms:.0f} ms instead of 100 ms"
)

# %% [markdown]
# > The difference is small here and large where the cache is far away. With a look-up and a fill of 10 ms each a cache
# > that hits one time in twelve makes everything *slower*, as the last line above shows. The formula is the average memory access time of Hennessy and
# > Patterson's *Computer Architecture*; the guide's own formula for cache-aside, further down, has all three parts.

# %% [markdown]
# *To here: 10 min.*
#
# ### Where the cliffs are
#
# The idea is older than the web. Between a processor's first cache and a disk lie six to seven orders of magnitude, bridged by
# one cache after another, each larger and slower than the last.
#
# The cell below measures your machine. It walks through arrays of growing size, each element holding the index of
# the next, in random order, so that no prefetcher can guess. What fits into a cache is quick; what does not, falls
# off a cliff. (Your numbers will differ from the stored ones.)

# %% tags=["nbval-ignore-output"]
curve = memory_hierarchy.pointer_chase()
found = memory_hierarchy.estimate_hierarchy(curve)
levels = [
    f"{size / 1024:,.0f} kB in {ns:.1f} ns"
    for size, ns in zip(found.bytes, found.ns, strict=False)
]
print("fitted: " + ", ".join(levels) + f"; memory {found.ns[-1]:.0f} ns")
pd.DataFrame({"array (kB)": curve.bytes // 1024, "ns per access": curve.ns.round(1)})[
    ::4
]

# %% [markdown]
# Spatial locality shows in plain NumPy. The next cell adds up every element of 128 MB, then every second, every fourth.
# Memory comes in **cache lines** of 64 bytes, eight numbers. From a stride of 2 to one of 8 you use ever fewer numbers of
# each line you pay for, and an element costs ever more. (The step from 1 to 2 has another cause: NumPy leaves its
# vectorized loop.)

# %% tags=["nbval-ignore-output"]
strides = (1, 2, 4, 8, 16, 32)
cost = memory_hierarchy.strided_sum(131_072, strides)
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
# A dictionary in your process answers in tens of nanoseconds when it is hot, and in about 100 when it must go to main
# memory. It is private to the process and dies with it. A **distributed cache** (Redis, Memcached) is shared and survives your deployments, but
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
# With $s = 1$ the most popular tenth of the items gets 76 % of the requests (the dotted line), and an LRU cache of that
# size answers 68 %, because part of it holds passers-by. With $s = 0$ all are alike, and the hit ratio is exactly
# $\min(1, C/N)$ whatever is kept. On the logarithmic axis the curve for $s = 1$ is nearly straight: **each doubling buys
# about as many points as the last one, and costs twice as much.**
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
print(f"the most popular tenth gets {popularity[:1_000].sum():.1%} of the requests")

# %% [markdown]
# *To here: 25 min.*
#
# ### Which item goes?
#
# A full cache must evict something to take something in. The rule for that is its **eviction policy**:
#
# | policy | evicts | remembers |
# |---|---|---|
# | LRU | what was used longest ago | the order of use |
# | FIFO | what came first | the order of arrival |
# | LFU | what was used least often | a counter an item |
# | CLOCK (1968) | as FIFO, but spares once what was used; a newcomer takes the freed place | one bit an item, a hand |
# | SIEVE (2024) | as CLOCK, but newcomers enter at the head of the queue, not at the hand | one bit an item, a hand |
# | S3-FIFO (2023) | from a small queue in front, which items used once leave soon | two queues, a ghost queue, two bits |
# | ARC (2003) | from the recent or the frequent half, by which of them it regrets more | four lists |
# | Belady's optimum (1966) | what is needed again latest | the future: a yardstick, not a policy |
#
# Step through a few of them. The same requests, a cache of five. Watch the run of new items in the middle (a
# **scan**, as a backup or a report makes it): who forgets everything?

# %%
widgets.caching.policy_steps()

# %% [markdown]
# In five slots nobody can protect much: SIEVE saves one favourite here, and promises nothing for all scans. What the
# policies do in a cache of a useful size, only a trace can tell.
#
# ### Judge by a trace, not by taste
#
# Synthetic popularity has no scans, no loops and no shift from morning to evening. So here are real requests:
# a quarter of a million page accesses of SQLite while a bookshop runs on it (customers browse and order, fashions
# change, and four times a day a report reads everything), recorded between SQLite and its page cache; and the files that
# a documentation build opens. How they were recorded is in `data/README.md`; you can record them again.

# %%
widgets.caching.miss_ratio_curves()

# %% [markdown]
# Three things to see. The distance between LRU and the optimum is what a cleverer policy could gain at most; the table
# below says how much of it S3-FIFO gets: more than half at one per cent, next to nothing at fifty. Which policy is best
# **depends on the size**: the curves of LRU and SIEVE cross. And for the documentation build a small LRU cache is nearly
# useless, because each run of the program opens more files, in the same order, than the cache holds: LRU evicts every
# file just before it is needed again.

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
gap = best - table["LRU"]
won = (np.array(table["S3-FIFO"]) - table["LRU"]) / gap
print(
    "of what LRU leaves to the optimum S3-FIFO gets", ", ".join(f"{x:.0%}" for x in won)
)
build = workloads.recorded_trace("docs_build")
small = {
    policy: caching.simulate(policy, build, 20).hit_ratio for policy in ("LRU", "OPT")
}
print(
    f"documentation build, 20 files: LRU {small['LRU']:.1%}, optimum {small['OPT']:.1%}"
)
pd.DataFrame(table, index=["1 % cached", "10 %", "50 %"]).T.map("{:.1%}".format)

# %% [markdown]
# That was one pass over the trace for all sizes at once, not one run for each size. It works because LRU is a
# **stack algorithm** (Mattson and others, 1970): a cache of 100 always holds everything a cache of 99 holds. A
# request hits in every cache larger than its **stack distance**, the number of different items asked for since the
# last time. A histogram of the distances is the curve.
#
# *To here: 40 min.*
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
# of 100. What it does not have, it fetches from your **origin**, and then the request has gone the whole way and a
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
# > The second needs the **byte hit ratio**. If your popular things are small, as in the
# > picture above, requests hit and bytes do not; move the correlation of popularity and size, and watch the two ratios
# > part and cross. A revalidation that ends in "not
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
# An expensive query is worth keeping whole. The key is a hash of the query and its parameters, the value its rows:

# %%
a = query_cache.cache_key("SELECT * FROM product  WHERE id = ?", (7,))
b = query_cache.cache_key("select * from product where id = ?;", (7,))
c = query_cache.cache_key("SELECT * FROM product WHERE id = ?", ("7",))
print(f"{a[:12]}, the same query {b[:12]}, another parameter {c[:12]}")

# %% [markdown]
# Then a row changes. Which of the stored results are now wrong?
#
# You may throw away everything that read from the table (**table-level**), or what read that row (**row-level**), or
# just the queries the writer names (**query-level**). The finer it is, the more must somebody know.

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
# (`Expires` is the older form of `max-age`, a date instead of a duration; where both stand, `max-age` wins.)
#
# Here is a real server (FastAPI, on a port of its own), and a client that sends the headers by hand:

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
# The explorable runs the same rules without the network, so that you can edit the page several times a second and see
# who notices:

# %%
widgets.http_caching.revalidation()

# %% [markdown]
# > **The guide says** that *strong validation* is `If-Modified-Since` and `If-None-Match`. A date is a **weak**
# > validator unless the receiver can tell otherwise, because it counts whole seconds: of two edits within one second the
# > browser may see one (RFC 9110, section 8.8.2). And `If-None-Match` compares *weakly*, even strong tags (section
# > 13.1.2): `W/"x"` matches `"x"`. Strong comparison is for `If-Match`, which guards a write, and for `If-Range`, which
# > resumes a download.

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
# > local storage is a small dictionary that your script fills and must expire itself; session storage is the same for
# > the life of one tab; about 5 MiB an origin each (MDN, *Storage quotas and eviction criteria*).
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
# Choose *both at once* and the write gets as slow as the slower of the two; turn the crashes off and see what is left.
# (A read of an unsaved write is right as long as the cache lives; a stale read is wrong at once.) No setting makes all
# the bars on the right vanish. The rest of this section takes the strategies one by one, as code.
#
# *To here: 70 min.*

# %% [markdown] covers=["5.3.1"] errata=["E75", "E76", "E77"]
# ### 5.3.1 Cache-aside
#
# The application asks the cache, on a miss the database, and puts what it found into the cache. It is the default
# for good reasons: only what is read is kept, and the cache knows nothing of your database.
#
# > **The guide counts** two round trips for a miss. Its own formula, and the code, have three: get, load, set.
#
# > **The guide's sample** has two bugs. It takes every falsy value, 0 or an empty string, for a miss; and it forgets to
# > wait for the cache, so that it holds a pending answer, which is never falsy. In Python the two read and behave like
# > this, beside the mended code:


# %%
def show(*scenes):
    """Play scenes with the guide's logic as it is, and with it mended."""
    rows = {}
    for scene in scenes:
        both = cache_samples.demonstrate(scene)
        for name, end in (("as it is", both.broken), ("mended", both.mended)):
            rows[both.scene, name] = {
                "reads": str(list(end.answers)),
                "cache at the end": str(end.cached),
                "database": str(end.stored),
                "calls of it": end.database_calls,
            } | ({"note": end.note} if end.note else {})
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def source(*functions):
    """Print how functions of the course are written, without their descriptions."""
    for function in functions:
        head, _, rest = inspect.getsource(function).partition('"""')
        print(head.rstrip() + rest.partition('"""')[2])


source(
    cache_samples.FalsyMiss.read,
    cache_samples.UnawaitedGet.read,
    cache_samples.Store.read,
)
show("falsy value", "unawaited get")

# %% [markdown]
# > **The guide says** that with cache-aside a failing cache does not break the application. Its sample has no `try`,
# > so the first refused connection is an error page. With one, the page comes and the database gets everything:


# %% tags=["conclusion"]
class BrokenCache(cache_samples.Cache):
    async def get(self, key, default=None):
        raise ConnectionError("the cache refuses the connection")


class TriesCache(cache_samples.Store):
    async def read(self, key):
        try:
            return await super().read(key)
        except ConnectionError:
            return await self.database.read(key)


async def read_without_cache(store):
    try:
        return await store(
            BrokenCache(), cache_samples.Database({"a": "the row"})
        ).read("a")
    except ConnectionError as error:
        return f"error page: {error}"


for store in (cache_samples.Store, TriesCache):
    print(f"{store.__name__:10}: {virtual_time.run(read_without_cache(store))}")
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
# > queue is empty again, so the next update starts a second processor, and the two race. First as it is (JavaScript
# > runs an asynchronous function up to its first wait at once, so the batch is taken right there), then mended: one
# > flusher, in order, which tries again and calls clean only what the database has:

# %%
source(cache_samples.RacingQueue.write, cache_samples.OrderedFlusher._flush)
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
# > $H' = H + p\,m_\text{expiry}$, and even that is a point too much where entries are read about once a life, because
# > an early refresh brings the next expiry forward.

# %% tags=["conclusion"]
for capacity in (300, 2_000, 8_000):
    run = cache_strategies.refresh_ahead(
        capacity=capacity, ttl_s=60, window=0.2, seed=seed
    )
    print(
        f"{capacity:5,} entries: {run.hit:.1%} become {run.refreshed_hit:.1%}; "
        f"“every miss” promised {run.guide_hit:.1%}, “only expiry” {run.corrected_hit:.1%}"
    )
    assert abs(run.corrected_hit - run.refreshed_hit) < abs(
        run.guide_hit - run.refreshed_hit
    )

# %% [markdown]
# > **The guide's text** predicts which items will be needed, from what was read in the last $T$ seconds or by machine
# > learning; **its code** reloads every key that is about to expire, read or not. (That is the *timer* in the picture
# > above: compare its loads.) The code also stores a promise in place of the row, because nobody waits for the
# > database; counts the time to live in milliseconds, where every other sample counts seconds; and lists the keys with
# > `KEYS`, which stops a Redis for everybody while it runs (its documentation says: use `SCAN`):

# %%
source(cache_samples.TimerRefresh.refresh, cache_samples.AccessRefresh.refresh)
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
# *To here: 95 min.*
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
# them on above and the bad order is gone. (The same lease tames the stampede of 5.5: only its holder loads, the others
# wait.)

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
    runs = [
        cache_strategies.simulate(
            "cache-aside", order=order, crash_probability=0.01, seed=seed + more
        )
        for more in range(10)
    ]
    stale[order] = np.mean([run.stale_reads for run in runs])
    print(
        f"{order:>10}: {stale[order]:4.0f} stale reads of {runs[0].reads:,}, "
        f"hit ratio {np.mean([run.hit_ratio for run in runs]):.1%} (means of ten runs)"
    )
assert stale["invalidate"] > stale["sequential"]

# %% [markdown]
# That is 16 clients, each with one request at a time, on keys of unequal popularity. Updating the entry keeps it warm and
# serves fewer stale reads; what it does leave behind, two puts in the wrong order, stays wrong until the entry expires.
# With leases or versions you may delete without the race. Without them, the time to live is what bounds the damage.

# %% [markdown] covers=["5.4.3"] errata=["E91"]
# ### 5.4.3 By hand
#
# `delete(key)` repairs one entry. `clear()` is offered beside it as if it were the same, only more.
#
# > **The guide lists** clearing the whole cache as a way to invalidate. It makes every request a miss, all at once,
# > which is the next section; and on a Redis that several services share, `FLUSHDB` empties the neighbours' data
# > too. A version number in the key prefix spares the neighbours; the misses are the same, so change it for a part of
# > the keys at a time, and give the old entries a time to live, or they stay.

# %% [markdown] covers=["5.5", "5.5.1"] errata=["E78", "E79", "E80"]
# ## 5.5 Patterns: the stampede
#
# A popular entry expires. The next request misses and loads, which takes 200 ms. At 500 requests a second for it, in those 200 ms
# a hundred others miss too, and load the same row. That is a **cache stampede**; the database, slower under load, makes the window
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
# All of them remember that a row is *there*. Where many ask for rows that do not exist, remember that as well, for a
# short time: **negative caching**.
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


source(stampede_fixes.GuideV1._load, stampede_fixes.SingleFlight._fly)
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
# A row that does not exist, asked for five times, with the guide's second sample, with single-flight, and with negative
# caching on top:


# %%
async def ask_for_nothing(make):
    database = stampede_fixes.Database(0.2, missing=["user:0"])
    loader = make(stampede_fixes.Cache(0.001), database)
    for _ in range(5):
        await loader.get("user:0")
    return len(database.call_s)


def negative_caching(cache, database):
    minute = lambda: 60.0  # noqa: E731
    return stampede_fixes.SingleFlight(cache, database, ttl=minute, missing_ttl=minute)


for make in (stampede_fixes.GuideV2, single_flight, negative_caching):
    print(f"loads with {make.__name__:16}: {virtual_time.run(ask_for_nothing(make))}")

# %% [markdown]
# All protections under fire: four processes, and one load in ten fails. The first second, in which the cache is empty,
# is counted apart.

# %%
rows = {}
for fix in stampede.FIXES:
    run = stampede.stampede(fix=fix, processes=4, db_error_probability=0.1, seed=seed)
    rows[fix] = {
        "database calls": run.db_calls,
        "of them after 1 s": int((run.call_s > 1).sum()),
        "p99 (ms)": round(run.p99_ms),
        "errors": run.errors,
        "empty answers": run.empty_answers,
        "dead keys": run.dead_keys,
        "oldest answer (s)": round(run.oldest_served_s, 1),
    }
pd.DataFrame.from_dict(rows, orient="index")

# %% [markdown]
# Read the last column first: the guide's samples make the fewest calls because their entries never expire, and that is
# what their answers cost. XFetch cannot help a cold cache, where there is nothing to refresh early; afterwards it spreads
# what would have been a spike. In practice it goes together with single-flight.

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
# Redis is a server of data structures in memory: strings, hashes, lists, sorted sets, with expiry, scripts and
# persistence if you want it. It executes one command at a time, on one thread. The cell starts one for you if `redis-server` is installed, and otherwise an
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
# > **The guide's sample** creates a client and never connects it, which its library has refused since version 4; and it
# > waits at the top level of a file that is loaded with `require`, which is a syntax error. `redis-py` connects with
# > the first command, so the Python above needs no such line.
#
# One command, one round trip. The server could answer many more (you measure it below); your client waits for the
# network between each. **Pipelining** sends many and then reads the answers:

# %%
widgets.labs.pipelining()

# %% tags=["nbval-ignore-output"]
with labs.start("redis") as lab:
    print(lab.label)
    runs = [bench.bench(lab, depth=depth, n=depth * 20) for depth in (1, 10, 100)]
    cost = bench.fit_round_trip(runs)
    memory_of_a_key = bench.bytes_per_key(lab) if lab.source != "embedded" else None
for run in runs:
    typical = run.depth / run.batch_us * 1e6
    print(
        f"{run.depth:4} at a time: {typical:9,.0f} commands/s in the median batch, "
        f"the model says {cost.ops_per_s(run.depth):9,.0f}"
    )
print(f"a round trip costs {cost.rtt_us:.0f} µs, a command {cost.service_us:.1f} µs")
if memory_of_a_key is not None:
    print(
        f"a value of 100 bytes under a key of {memory_of_a_key.payload - 100:.0f} takes "
        f"{memory_of_a_key.total:.0f} bytes, {memory_of_a_key.overhead:.0f} of them overhead"
    )

# %% [markdown] covers=["5.6.2"]
# ### 5.6.2 Memcached
#
# Memcached is the plainer of the two: keys, opaque values, expiry, several threads, and by default nothing on disk. There is
# no embedded stand-in for it; without the server the cell shows what it gave when it was recorded.

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

# %% tags=["nbval-ignore-output"]
try:
    with labs.start("memcached") as lab:
        print(lab.label)
        for depth in (1, 10, 100):
            run = bench.bench(lab, depth=depth, n=depth * 50)
            print(f"{depth:4} at a time: {depth / run.batch_us * 1e6:9,.0f} commands/s")
except labs.LabUnavailable as missing:
    print(
        "recorded with Memcached 1.6.18 on two cores: 50,000, 276,000 and 422,000 commands/s"
    )
    print(f"at 1, 10 and 100 at a time ({missing})")

# %% [markdown]
# *To here: 120 min.*
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
# **Then the time to live.** With nothing evicted, expiry alone decides what is loaded again:

# %% tags=["conclusion"]
rates = popularity * reads_per_s
lives = {"1 min": 60, "10 min": 600, "20 min": 1_200, "30 min": 1_800, "1 h": 3_600}
loads = {
    name: caching.ttl_hit_ratio(rates, life).fills_per_s for name, life in lives.items()
}
print(", ".join(f"{name}: {load:,.0f} loads/s" for name, load in loads.items()))
assert loads["10 min"] > database_limit / 2 > loads["30 min"]

# %% [markdown]
# A time to live of a minute, for prices that may be a minute old, would load three times what the database can bear. So
# freshness must come from deleting on write, and the time to live is the backstop: half an hour, which is also how long
# a price stays wrong if a delete is lost.
#
# **Then the day a node dies.** Its share of the keys misses until they are loaded again:


# %%
def reads_with_one_down(nodes, hit_ratio=1.0):
    return reads_per_s * (1 - hit_ratio * (1 - 1 / nodes))


outage = pd.DataFrame({"nodes": [2, 4, 8, 16, 32]})
outage["database reads /s, one node down"] = [
    round(reads_with_one_down(nodes)) for nodes in outage["nodes"]
]
least = next(n for n in range(2, 1_000) if reads_with_one_down(n) <= database_limit)
print(
    f"at least {least} nodes, so that the loss of one leaves 3,000 reads a second or fewer"
)
outage

# %% [markdown]
# Nobody needs that many nodes for three gigabytes. So either each key is kept on two nodes, or loads from the database
# are limited (single-flight, and a cap on concurrent loads) and the page can do without the item for a second. That,
# not the memory, is the decision.
#
# **Last the strategy.** Reads outnumber writes a hundred to one, and a lost write is a lost price change: *cache-aside,
# delete on write, with leases; a time to live of half an hour ± 10 %; single-flight in every process.* Write-back is
# out, because what it loses is a price. Write-through would save the one miss after each write, and is refused because
# two puts can land in the wrong order, against which leases do not help (5.4.2).

# %% [markdown]
# ## Check yourself

# %%
widgets.check_yourself("caching")

# %% [markdown]
# ## Exercises
#
# Write your answer into each cell, run it, then run the folded cell below it: it says "right", or the first thing that is
# not. The hints climb: what is asked again, an idea, half a solution.
#
# ### 1 · Compute: which hit ratio?
#
# A hit takes `hit_ms`. A miss takes the look-up and then `miss_ms` in the database; the fill is done in the background.
# Return the least hit ratio at which the mean is at most `target_ms`. For 20 ms, with 1 ms and 100 ms, that is 0.81; a
# target that misses alone can meet needs a hit ratio of 0.


# %%
def hit_ratio_for(target_ms: float, hit_ms: float, miss_ms: float) -> float | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>What does a miss take, in all?</details>
# <details><summary>Hint 2</summary>Write the mean as a function of the hit ratio, and solve for it.</details>
# <details><summary>Hint 3</summary>The mean is <code>hit_ms + (1 - h) * miss_ms</code>; and no ratio is below 0.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def report(name, problems):
    """Say what is right, or the first thing that is not."""
    print(f"{name}: {problems[0]}" if problems else f"{name}: right")


def check_hit_ratio_for(function):
    for target, hit, miss in ((5, 1, 100), (20, 1, 100), (1.5, 0.5, 20), (200, 1, 100)):
        got = function(target, hit, miss)
        expected = caching.required_hit_ratio(target, hit, miss, fill_ms=0)
        if got is None:
            yield "not written yet"
        elif not np.isclose(got, expected):
            yield f"hit_ratio_for({target}, {hit}, {miss}) gives {got:.4f}: not the least ratio that meets it"


report("1", list(check_hit_ratio_for(hit_ratio_for)))

# %% [markdown]
# ### 2 · Build: an LRU cache
#
# `get(key)` returns the value or `None`; `put(key, value)` stores it, also over an old value, and evicts the least
# recently used entry when there are more than `capacity`. Both count as a use.


# %%
class LRU:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    def get(self, key):
        return None  # your code

    def put(self, key, value):
        pass  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>You need the entries in the order of their last use.</details>
# <details><summary>Hint 2</summary><code>dict</code> remembers the order of insertion: taking a key out and putting it
# back moves it to the end.</details>
# <details><summary>Hint 3</summary><code>next(iter(d))</code> is the oldest key. Evict <em>after</em> storing, and only
# when there are too many.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_lru(cls):
    rng = np.random.default_rng(7)
    for capacity in (1, 2, 4):
        cache, uses, said = cls(capacity), [], []
        for number in range(200):
            key, write = int(rng.integers(0, 7)), rng.random() < 0.5
            # What LRU holds: the last so many different keys that were stored or found.
            held = list(dict.fromkeys(reversed(uses)))[:capacity]
            values = dict(said)
            expected = values.get(key) if key in held else None
            if write:
                cache.put(key, number)
                said.append((key, number))
                uses.append(key)
                continue
            got = cache.get(key)
            if expected is not None:
                uses.append(key)
            if got == expected:
                continue
            if got is None and not any(cache.get(k) is not None for k in held):
                yield "not written yet: nothing that was put is found again"
            else:
                yield (
                    f"capacity {capacity}, the last keys used {uses[-8:]}: "
                    f"get({key}) gives {got}, LRU gives {expected}"
                )
            return


report("2", list(check_lru(LRU)))

# %% [markdown]
# ### 3 · Build: single-flight
#
# `get(key)` calls `await load(key)` once for each key, however many ask at the same time; all who asked for it get the
# result, or the exception. After a failure the next call loads again.


# %%
class MySingleFlight:
    def __init__(self, load) -> None:
        self.load = load

    async def get(self, key):
        return None  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>The first who asks starts the load; the others must find it under way.</details>
# <details><summary>Hint 2</summary>Keep an <code>asyncio.Task</code> by key while a load is under way. Several may await
# the same task.</details>
# <details><summary>Hint 3</summary>Take it away when it is done, <em>however</em> it ends:
# <code>task.add_done_callback</code>.</details>


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
        ask = lambda *keys: asyncio.gather(  # noqa: E731
            *(flight.get(key) for key in keys), return_exceptions=True
        )
        return calls, await ask(*"aaa"), await ask(*"aaabb")

    calls, first, second = virtual_time.run(experiment())
    if not calls:
        yield "not written yet"
    elif not all(isinstance(answer, ConnectionError) for answer in first):
        yield f"the load failed, and the three who asked got {first!r}"
    elif second != ["row a"] * 3 + ["row b"] * 2:
        yield f"after a failure three asked for a and two for b, and got {second!r}"
    elif len(calls) != 3:
        yield f"{len(calls)} loads where 3 suffice: one that failed, one for a, one for b"


report("3", list(check_single_flight(MySingleFlight)))

# %% [markdown]
# ### 4 · Decide: how large?
#
# 10,000 items, popularity Zipf with $s = 1$, LRU. Give the size of a cache, in entries, that hits 80 % of the time and
# wastes nothing. The check *measures* your size and one that is a twentieth smaller, so it knows no answer by heart.

# %%
my_size = None  # your number

# %% [markdown]
# <details><summary>Hint 1</summary>The explorable <em>How large must it be?</em> has the curve.</details>
# <details><summary>Hint 2</summary><code>caching.che(workloads.zipf_probabilities(10_000, 1.0), size).hit_ratio</code> is
# a function of the size that only rises.</details>
# <details><summary>Hint 3</summary>Bisection: halve the interval in which it passes 0.8. (The course has
# <code>caching.size_for_hit_ratio</code>, to compare with.)</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_size(size):
    if size is None:
        yield "not written yet"
        return
    trace = workloads.zipf_trace(1_000_000, 10_000, 1.0, seed=11)
    # Three standard errors of a share of 800,000 requests are a seventh of a point.
    slack = 3 * np.sqrt(0.8 * 0.2 / 800_000) + 0.002
    measured, smaller = (
        caching.simulate("LRU", trace, max(1, int(entries)), warmup=200_000).hit_ratio
        for entries in (size, size * 0.95)
    )
    if measured < 0.8 - slack:
        yield f"{size:,} entries hit {measured:.1%} of the time: too few"
    elif smaller > 0.8 + slack:
        yield f"{size:,} entries are more than it takes: a twentieth fewer still hit {smaller:.1%}"


report("4", list(check_size(my_size)))

# %% [markdown]
# ### 5 · Find: every order that ends stale
#
# A reader does `get`, `read`, `fill`; a writer **deletes first** and then writes: `delete`, `write`. The cache starts
# empty. Return the list of the orders that end with a stale cache, each as a list like
# `["get", "delete", "read", "write", "fill"]`. Enumerate and simulate them yourself.


# %%
def stale_orders() -> list[list[str]] | None:
    return None  # your code


# %% [markdown]
# <details><summary>Hint 1</summary>Which of the five places belong to the reader?
# <code>itertools.combinations(range(5), 3)</code>.</details>
# <details><summary>Hint 2</summary>Keep three variables: what the database holds, what the cache holds, what the reader
# has read.</details>
# <details><summary>Hint 3</summary><code>fill</code> puts what was read into the cache; <code>delete</code> empties it;
# stale is a cache that holds the old value when the database holds the new one.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_stale(function):
    got = function()
    if got is None:
        yield "not written yet"
        return
    scenario = cache_interleavings.SCENARIOS["reader and writer that deletes first"]
    stale = {
        tuple(step.partition(".")[2] for step in one.order)
        for one in cache_interleavings.interleavings(scenario)
        if one.stale
    }
    given = {tuple(order) for order in got}
    for order in sorted(given - stale):
        yield f"{list(order)} does not end stale, or is no order of the five steps"
    if stale - given:
        yield f"{len(stale - given)} orders that end stale are not among your {len(given)}"


report("5", list(check_stale(stale_orders)))

# %% [markdown]
# ### 6 · Decide: which time to live?
#
# 100,000 items, 5,000 requests a second, Zipf with $s = 0.8$, nothing is ever evicted. The database bears 800 loads a
# second from expiry. Give the shortest time to live, in seconds, to within a twentieth.

# %%
my_ttl_s = None  # your number

# %% [markdown]
# <details><summary>Hint 1</summary>An item asked for λ times a second is loaded λ / (1 + λT) times a second.</details>
# <details><summary>Hint 2</summary><code>caching.ttl_hit_ratio(rates, ttl_s).fills_per_s</code> adds that up.</details>
# <details><summary>Hint 3</summary>It only falls with T: bisection again.</details>


# %% jupyter={"source_hidden": true} tags=["check"]
def check_ttl(ttl_s):
    if ttl_s is None:
        yield "not written yet"
        return
    rates = workloads.zipf_probabilities(100_000, 0.8) * 5_000
    loads = caching.ttl_hit_ratio(rates, ttl_s).fills_per_s
    sooner = caching.ttl_hit_ratio(rates, ttl_s * 0.95).fills_per_s
    if loads > 800:
        yield f"{ttl_s:,.0f} s cause {loads:,.0f} loads a second: too many"
    elif sooner <= 800:
        yield f"{ttl_s:,.0f} s are longer than it takes: a twentieth less causes {sooner:,.0f} loads"


report("6", list(check_ttl(my_ttl_s)))

# %% [markdown]
# ## Take-aways
#
# 1. Watch the miss ratio, not the hit ratio: it is your database's load.
# 2. Size a cache by its miss-ratio curve, from your own trace. Che's approximation does it from popularities alone.
# 3. Without a transaction across the two stores some order of steps ends stale. Bound it with a time to live; close it
#    with leases or versions.
# 4. Write-back loses the write rate times half the flush interval on average, for every crash, if flushes succeed.
#    Decide whether that is a number you can live with.
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
