import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

// Checks on real models and golden layers beside the project: minutes, not seconds.
const config = mergeConfig(base, defineConfig({ test: { testTimeout: 900_000, hookTimeout: 900_000 } }));
config.test.include = ['test/shared/**/*.test.ts'];
config.test.exclude = [];
export default config;
