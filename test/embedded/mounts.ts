/** File systems made for one test. They need root; without it, or without the tools, the tests that use them are skipped in print. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, closeSync, ftruncateSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Mount {
  readonly path: string;
  /** Makes a tmpfs larger. */
  grow(megabytes: number): void;
  /** Everything that was not flushed is lost, and nothing can be read or written. */
  cutPower(): void;
  /** Mounts what is left. No process may have a file open there. */
  restorePower(): void;
  end(): void;
}

/** A tmpfs of so many megabytes, or why there is none. */
export function smallDisk(megabytes: number): Mount | string {
  return mounted((path) => execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path], QUIET));
}

/** An ext4 file system in a file, whose power can be cut. */
export function cuttableDisk(megabytes: number): Mount | string {
  const missing = ['mkfs.ext4', 'python3'].find((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0);
  if (missing !== undefined) return `${missing} is not installed`;
  return mounted((path, directory) => {
    const image = join(directory, 'image');
    const file = openSync(image, 'w');
    ftruncateSync(file, megabytes * 2 ** 20);
    closeSync(file);
    execFileSync('mkfs.ext4', ['-q', image], QUIET);
    execFileSync('mount', ['-o', 'loop', image, path], QUIET);
  });
}

function mounted(mount: (path: string, directory: string) => void): Mount | string {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  const directory = mkdtempSync(join(tmpdir(), 'event-bus-mount-'));
  const path = join(directory, 'disk');
  mkdirSync(path);
  try {
    mount(path, directory);
  } catch (error) {
    rmSync(directory, { recursive: true });
    return `it cannot be mounted: ${String((error as { stderr?: unknown }).stderr ?? error).trim()}`;
  }
  return {
    path,
    grow: (megabytes) => void execFileSync('mount', ['-o', `remount,size=${megabytes}m`, path], QUIET),
    cutPower() {
      // EXT4_IOC_SHUTDOWN without a flush of the journal (fs/ext4/ioctl.c).
      execFileSync(
        'python3',
        [
          '-c',
          `import fcntl, os, struct; fcntl.ioctl(os.open(${JSON.stringify(path)}, os.O_RDONLY), 0x8004587d, struct.pack('I', 2))`,
        ],
        QUIET,
      );
    },
    restorePower() {
      execFileSync('umount', [path], QUIET);
      execFileSync('mount', ['-o', 'loop', join(directory, 'image'), path], QUIET);
    },
    end() {
      spawnSync('umount', ['-l', path]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const QUIET = { stdio: ['ignore', 'ignore', 'pipe'] as ['ignore', 'ignore', 'pipe'] };
