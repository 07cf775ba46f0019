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
# # Start here
#
# This is a course in system design that you run. Every chapter puts a question, lets you **predict**, and then
# hands you the thing itself: a cache, a queue, a cluster, with its controls. You move them, you see what happens,
# and the sentence under each picture says what is true now, in numbers that have just been computed.
#
# **First:** choose *Run ▸ Run All Cells* in the menu above. Everything on this page, and in every chapter, comes
# alive. Until you do, you see pictures.
#
# ## One minute, to get the hang of it
#
# Below is one *explorable*. Answer its question (a guess is fine, it is the guess that makes you remember), then
# move a control. With the keyboard: <kbd>Tab</kbd> to a control, arrow keys to move it.

# %%
import widgets

widgets.caching.effective_access_time()

# %% [markdown]
# - **Reset** puts every control back. **Pin** keeps the present picture in grey behind the next, to compare.
# - **Share** gives you a line of Python that opens this very picture: paste it into a cell, a message, an answer.
# - **In words** describes the picture, for a screen reader or for a second look, and says what the model leaves out.
# - Type a number into the box beside a slider for an exact value. What is not allowed is refused with a sentence,
#   and the last picture stays.
#
# Nothing here leaves your machine, and nothing can break: *Kernel ▸ Restart Kernel and Run All Cells* puts
# everything back.
#
# ## The seventeen chapters
#
# Each takes one to two hours. They follow one another, but each says what it needs, and most stand alone.

# %% tags=["hide-input"]
widgets.course_map()

# %% [markdown]
# ## How to work through a chapter
#
# 1. Read the opening problem. Decide what *you* would do.
# 2. At each explorable, predict before you open it. Then try its extremes: that is where systems break.
# 3. Look at the code cells. They are short on purpose; change a number and run the cell again.
# 4. Answer the questions at the end, and solve the exercises without looking back.
#
# Behind every picture is an ordinary function that you can call. This is the one above:

# %%
from course import caching

caching.effective_access_time(hit_ratio=0.9, hit_ms=1, miss_ms=100)

# %% [markdown]
# ## If something does not work
#
# | you see | do this |
# |---|---|
# | pictures, but no controls | *Run ▸ Run All Cells* |
# | "This picture is not connected" | *Kernel ▸ Restart Kernel and Run All Cells* |
# | a box that says a server is missing | read on: the recorded run stands below it; the box says how to get the server |
# | `ModuleNotFoundError` | the kernel is not the course's: choose *Python 3 (ipykernel)* in *Kernel ▸ Change Kernel*, and start the course with `make lab` |
#
# Errors in the course, or in the guide it follows: every chapter shows what it found in boxes headed
# **"The guide says"**. If you find another, please report it.
