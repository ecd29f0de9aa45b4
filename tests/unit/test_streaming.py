"""Which writes bypass the caches: those of models that are too large to be found there again."""

from wagma_rma.kernels.streaming import IN_PLACE, OUTPUT, WINDOW, Streaming


def chosen(model_bytes):
    streaming = Streaming(model_bytes)
    return streaming.window, streaming.output, streaming.in_place


def test_a_small_model_stays_in_the_caches():
    assert chosen(0) == chosen(WINDOW - 1) == (False, False, False)


def test_what_other_cores_read_next_bypasses_them_first():
    assert chosen(WINDOW)[0]
    assert not chosen(OUTPUT - 1)[1]
    assert chosen(OUTPUT)[1]


def test_an_output_in_place_bypasses_them_last():
    assert WINDOW < OUTPUT <= IN_PLACE
    assert not chosen(IN_PLACE - 1)[2]
    assert chosen(IN_PLACE) == (True, True, True)
