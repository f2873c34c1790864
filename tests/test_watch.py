"""What a person watches does not hold up what is watched."""

from jaxgan import watch


def test_curves_are_drawn_in_a_fiftieth_of_the_time_and_whenever_pictures_are():
    time, drawn = [0.0], []

    def draw(rows):
        drawn.append((time[0], rows))
        time[0] += 1.0

    curves = watch.seldom(draw, share=0.02, clock=lambda: time[0])
    for at in range(0, 200, 10):
        time[0] = max(time[0], float(at))
        curves(at)
    assert drawn == [(0.0, 0), (60.0, 60), (120.0, 120), (180.0, 180)]  # 50 s after the end of the last, on the next tick
    curves(200, anyway=True)
    curves(201)
    assert drawn[4:] == [(190.0, 200)]
