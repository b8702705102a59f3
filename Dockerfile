# The two samples: docker build -t event-bus-samples . && docker run --rm -p 3001:3001 event-bus-samples apps/studio/dist/main.js
FROM node:22-slim AS build
WORKDIR /app
COPY . .
RUN npm ci --no-audit --no-fund && npx tsc -b apps/studio apps/catalog && npm prune --omit=dev --no-audit --no-fund

FROM node:22-slim
ENV NODE_ENV=production HOST=0.0.0.0 EVENT_BUS_PATH=/data LOG_FORMAT=json
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/libs libs
COPY --from=build /app/apps apps
RUN mkdir /data && chown node /data
USER node
VOLUME /data
EXPOSE 3001 3002
ENTRYPOINT ["node", "--enable-source-maps"]
