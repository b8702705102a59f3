/** Loaded into a service before it starts: tells whoever asks over the line how much processor the service has taken. */
process.on('message', () => process.send?.(process.cpuUsage()));
process.channel?.unref();
