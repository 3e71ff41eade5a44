import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.ts';

// Checks on real models and golden layers beside the project: minutes, not seconds.
const limits = { testTimeout: 3_600_000, hookTimeout: 3_600_000 };
const config = mergeConfig(base, defineConfig({ test: limits }));
config.test.include = ['test/shared/**/*.test.ts'];
config.test.exclude = [];
export default config;
