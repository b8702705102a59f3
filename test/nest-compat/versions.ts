/** The versions of Nest that the peer range promises, and what each is made of. The newest 12 is the workspace's own: every test of libs/nest runs on it. */
export const VERSIONS = {
  '11.1.24': { why: 'the lowest', core: '11.1.24', microservices: '11.1.24', terminus: '11.0.0' },
  '11.2.10': { why: 'the newest 11', core: '11.2.10', microservices: '11.2.6', terminus: '12.1.0' },
  '12.0.1': { why: 'the lowest 12', core: '12.0.1', microservices: '12.0.1', terminus: '12.1.0' },
} as const;

export type Version = keyof typeof VERSIONS;

/** The dependencies of a folder in which libs/nest runs on this version. */
export function dependenciesOf(version: Version): Record<string, string> {
  const { core, microservices, terminus } = VERSIONS[version];
  return {
    '@nestjs/common': core,
    '@nestjs/core': core,
    '@nestjs/microservices': microservices,
    '@nestjs/platform-express': core,
    '@nestjs/terminus': terminus,
    '@nestjs/testing': microservices,
    'reflect-metadata': '0.2.2',
    rxjs: '7.8.2',
  };
}
