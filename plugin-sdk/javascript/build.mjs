// node build.mjs DETECTOR.js WIT OUT.wasm: makes a component of a detector. Every feature of the runtime that would import WASI is
// off, so that it has no clock, file, network or randomness.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, out] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName: 'plugin',
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(out, component);
