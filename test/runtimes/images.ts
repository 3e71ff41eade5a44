import { readdirSync } from 'node:fs';

/** Two calibration images of each class, by their paths in test/fixtures. */
export function calibrationImages(fixtures: string): { name: string; label: number }[] {
  const sorted = (path: string) => readdirSync(`${fixtures}/${path}`).sort();
  return sorted('calib').flatMap((folder, label) =>
    sorted(`calib/${folder}`)
      .slice(0, 2)
      .map((file) => ({ name: `calib/${folder}/${file}`, label })),
  );
}
