// What failed calls of the operating system are to a person.

import { InputError, OsscarError } from './errors.ts';

const REASONS: Record<string, string> = {
  ENOENT: 'no such file or folder',
  ENOTDIR: 'not a folder',
  EEXIST: 'not a folder', // of what is made if need be
  EISDIR: 'is a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'read-only file system',
  EBUSY: 'is in use, or something is mounted there',
  ENOSPC: 'no space left',
  EDQUOT: 'no space left (quota)',
  EFBIG: 'larger than files may be here',
  EIO: 'the disk failed (I/O error)',
  ELOOP: 'a link that leads to itself',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many open files',
  ERR_FS_FILE_TOO_LARGE: 'larger than 2 GiB',
};

/** What a failed system call on a path is to the user. What is an error of ours stays as it is. */
export function inputError(path: string, cause: unknown): OsscarError {
  if (cause instanceof OsscarError) return cause;
  const { code, message } = cause as { readonly code?: string; readonly message: string };
  return new InputError(`"${path}": ${REASONS[code ?? ''] ?? message}`, { cause });
}
