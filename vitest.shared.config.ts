import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

// Checks on real models and golden layers beside the project: minutes, not seconds. One file at a time: each takes
// all cores, and two side by side take as long (measured).
const limits = { testTimeout: 3_600_000, hookTimeout: 3_600_000, fileParallelism: false };
const config = mergeConfig(base, defineConfig({ test: limits }));
config.test.include = ['test/shared/**/*.test.ts'];
config.test.exclude = [];
export default config;
