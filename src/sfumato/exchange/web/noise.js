// Standard normal noise of (seed, image index), the same numbers as NumPy's Generator(Philox(key=[seed, index])) in
// float32: image 0 of a seed is the image that sfumato draws in Python.

const WORD = 0xffffffffffffffffn;
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const INCREMENTS = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];

/** The 32-bit words of Philox 4x64-10 (Salmon et al., 2011). */
function* words(seed, index) {
  for (let counter = 1n; ; counter++) {
    let [a, b, c, d] = [counter, 0n, 0n, 0n];
    let [key0, key1] = [BigInt(seed), BigInt(index)];
    for (let round = 0; round < 10; round++) {
      const first = MULTIPLIERS[0] * a, second = MULTIPLIERS[1] * c;
      [a, b, c, d] = [(second >> 64n) ^ b ^ key0, second & WORD, (first >> 64n) ^ d ^ key1, first & WORD];
      key0 = (key0 + INCREMENTS[0]) & WORD;
      key1 = (key1 + INCREMENTS[1]) & WORD;
    }
    for (const word of [a, b, c, d]) yield* [Number(word & 0xffffffffn), Number(word >> 32n)];
  }
}

// The ziggurat of 256 layers of equal area (Marsaglia and Tsang, 2000): widths, acceptance bounds and densities.
const EDGE = 3.6541528853610088, AREA = 0.00492867323399, SCALE = 2 ** 23;
const WIDTH = new Float32Array(256), BOUND = new Uint32Array(256), DENSITY = new Float32Array(256);
const density = (x) => Math.exp((-x * x) / 2);
WIDTH[0] = AREA / density(EDGE) / SCALE;
BOUND[0] = ((EDGE * density(EDGE)) / AREA) * SCALE;
DENSITY[0] = 1;
for (let layer = 255, x = EDGE; layer > 0; layer--) {
  const inner = layer > 1 ? Math.sqrt(-2 * Math.log(AREA / x + density(x))) : 0;
  [WIDTH[layer], BOUND[layer], DENSITY[layer]] = [x / SCALE, (inner / x) * SCALE, density(x)];
  x = inner;
}

/** `count` standard normal numbers. */
export function standardNormal(seed, count, index = 0) {
  const stream = words(seed, index);
  const word = () => stream.next().value;
  const uniform = () => (word() >>> 8) / 2 ** 24;
  const one = () => {
    for (;;) {
      const bits = word(), layer = bits & 255, sign = bits & 256 ? -1 : 1, position = bits >>> 9;
      const x = Math.fround(position * WIDTH[layer]);
      if (position < BOUND[layer]) return sign * x;
      if (layer === 0) {
        for (;;) {
          const beyond = -Math.log1p(-uniform()) / EDGE, height = -Math.log1p(-uniform());
          if (2 * height > beyond * beyond) return (position >> 8) & 1 ? -EDGE - beyond : EDGE + beyond;
        }
      }
      if ((DENSITY[layer - 1] - DENSITY[layer]) * uniform() + DENSITY[layer] < density(x)) return sign * x;
    }
  };
  return Float32Array.from({ length: count }, one);
}
