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

# %%
import widgets

# %% tags=["parameters"]
seed = 1

# %%
widgets.caching.effective_access_time()

# %%
widgets.quiz("What is 1+1?", right="2", because="It is.", wrong={"3": "Too much."})
