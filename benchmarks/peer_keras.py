"""The tutorial's listing in Keras on TensorFlow, as `benchmarks.peers` times it: `peer_keras.py graph | xla` (`tf.function`)."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from peer_worker import serve  # noqa: E402

HOW = sys.argv[1] if len(sys.argv) > 1 else "graph"


def networks():
    layers = keras.layers
    leaky = lambda: layers.LeakyReLU(0.3)
    deconv = lambda n, stride, **more: layers.Conv2DTranspose(n, 5, stride, padding="same", use_bias=False, **more)
    g = [layers.Input((100,)), layers.Dense(7 * 7 * 256, use_bias=False), layers.BatchNormalization(), leaky()]
    g += [layers.Reshape((7, 7, 256)), deconv(128, 1), layers.BatchNormalization(), leaky()]
    g += [deconv(64, 2), layers.BatchNormalization(), leaky(), deconv(1, 2, activation="tanh")]
    d = [layers.Input((28, 28, 1))]
    for features in (64, 128):
        d += [layers.Conv2D(features, 5, 2, padding="same"), leaky(), layers.Dropout(0.3)]
    return keras.Sequential(g), keras.Sequential([*d, layers.Flatten(), layers.Dense(1)])


def build(batch: int):
    g, d = networks()
    opt_g, opt_d = keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4)
    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    images = tf.random.uniform((batch, 28, 28, 1), -1, 1)

    @tf.function(jit_compile=HOW == "xla")
    def step(images):
        z = tf.random.normal((batch, 100))
        with tf.GradientTape() as tape_g, tf.GradientTape() as tape_d:
            fake = g(z, training=True)
            real_out, fake_out = d(images, training=True), d(fake, training=True)
            loss_g = bce(tf.ones_like(fake_out), fake_out)
            loss_d = bce(tf.ones_like(real_out), real_out) + bce(tf.zeros_like(fake_out), fake_out)
        grads_g = tape_g.gradient(loss_g, g.trainable_variables)
        grads_d = tape_d.gradient(loss_d, d.trainable_variables)
        opt_g.apply_gradients(zip(grads_g, g.trainable_variables, strict=True))
        opt_d.apply_gradients(zip(grads_d, d.trainable_variables, strict=True))
        return loss_g

    def run(steps):
        for _ in range(steps):
            loss = step(images)
        loss.numpy()  # waits

    return run


if __name__ == "__main__":
    devices = [tf.config.experimental.get_device_details(gpu)["device_name"] for gpu in tf.config.list_physical_devices("GPU")]
    serve(f"keras {keras.__version__}, tensorflow {tf.__version__}, {(devices or ['cpu'])[0]}", build)
