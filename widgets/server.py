"""placeholder"""
def _jupyter_server_extension_points(): return [{"module": "widgets.server"}]
def _load_jupyter_server_extension(app): pass
