import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

// Headless Chromium on the built dist/: `npm run test:browser`.
const config = mergeConfig(base, defineConfig({ test: { fileParallelism: false } }));
config.test.include = ['test/browser/**/*.test.ts'];
config.test.exclude = [];
export default config;
